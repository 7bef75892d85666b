"""Crops against torchvision's transforms, and what the stage makes of files and arrays of any size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from cca import tokenizers
from cca.data import codes, encode, images
from cca.data.crops import random_crop, ten_crops
from cca.data.decode import centre_crop, open_image
from cca.data.encode import CodesSettings
from cca.errors import CCAError
from cca.rng import generator

ARCHITECTURE = {
    "image_size": 16,
    "channels": 3,
    "base_channels": 4,
    "channel_multipliers": [1, 1],
    "blocks": 1,
    "norm_groups": 2,
    "z_channels": 4,
    "codebook_size": 12,
    "codebook_dim": 4,
}


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(40, 30), (17, 90), (16, 16), (300, 200)]
    return [Image.fromarray(rng.integers(256, size=(h, w, 3), dtype=np.uint8)) for h, w in sizes]


def test_ten_crops_are_corners_centre_and_their_mirrors() -> None:
    for image in pictures():
        larger = centre_crop(image, 17)  # int(16 * 1.1)
        crops = [np.asarray(crop) for crop in ten_crops(image, 16, 1.1)]
        assert len(crops) == 10 and {crop.shape for crop in crops} == {(16, 16, 3)}
        square, mirror = np.asarray(larger), np.asarray(larger)[:, ::-1]
        for first, whole in ((0, square), (5, mirror)):
            corners = [whole[:16, :16], whole[:16, 1:], whole[1:, :16], whole[1:, 1:]]
            assert all((crops[first + i] == corner).all() for i, corner in enumerate(corners))
        expected = transforms.TenCrop(16)(larger)
        assert all((crops[centre] == np.asarray(expected[centre])).all() for centre in (4, 9))
    # The published size: a square of 422 for 384 pixels, so that the centre starts at 19.
    pixels = np.random.default_rng(1).integers(256, size=(422, 422, 3), dtype=np.uint8)
    crops = ten_crops(Image.fromarray(pixels), 384, 1.1)
    for centre, whole in ((4, pixels), (9, pixels[:, ::-1])):
        assert (np.asarray(crops[centre]) == whole[19:403, 19:403]).all()


def test_random_crops_are_vars_transforms_at_a_given_corner() -> None:
    for image in pictures():
        resized = transforms.Resize(18, interpolation=transforms.InterpolationMode.LANCZOS)(image)
        pixels = np.asarray(resized)
        down, right = (int(0.7 * (side - 16 + 1)) for side in pixels.shape[:2])
        expected = pixels[down : down + 16, right : right + 16]
        assert (np.asarray(random_crop(image, 16, 1.125, (0.7, 0.7))) == expected).all()
    places = {
        np.asarray(random_crop(pictures()[2], 16, 1.125, tuple(corner))).tobytes()
        for corner in np.random.default_rng(0).random((200, 2))
    }
    assert len(places) == 9  # three by three of them in 18 x 18


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokenizer") / "vq.safetensors"
    torch.manual_seed(0)
    tokenizers.save(out, tokenizers.build("vq", ARCHITECTURE), "vq", ARCHITECTURE)
    return out


@pytest.fixture
def listed(imagenet_root: Path, tmp_path: Path) -> Path:
    """An ImageNet whose images are wanted smaller than the tokenizer's."""
    out = tmp_path / "images.npz"
    values = {"source": "imagenet", "root": imagenet_root, "image_size": 8, "channels": 3}
    images.run(images.DataSettings(**values), out=out)
    return out


@pytest.mark.parametrize("cropping", ["ten", "random"])
def test_files_are_cropped_from_their_own_size_the_same_in_any_number_of_shards(
    listed: Path, tokenizer: Path, tmp_path: Path, cropping: str
) -> None:
    values = {"ten": {"crops": 10, "resize": 1.1}, "random": {"crops": 2, "resize": 1.125}}[cropping]
    settings = CodesSettings(cropping=cropping, batch_size=300, **values)
    for shards in (1, 3):
        for shard in range(shards):
            out = tmp_path / f"{shards}/shard_{shard}.safetensors"
            encode.run(settings, images=listed, tokenizer=tokenizer, out=out, shard=shard, shards=shards)
        codes.run(codes.JoinSettings(), shards=tmp_path / f"{shards}", out=tmp_path / f"{shards}.npz")
    one, three = (codes.load(tmp_path / f"{shards}.npz") for shards in (1, 3))
    assert one.shape == three.shape == (1001, settings.crops, 64)
    image, crop = np.divmod(np.arange(1001 * settings.crops), settings.crops)
    assert (one.select(image, crop) == three.select(image, crop)).all()
    files, coder = images.load(listed).train_images, tokenizers.load(tokenizer)
    for number in (0, 700):
        picture = open_image(files.path(number), 3)
        corners = [generator("crop", 0, k).random((1001, 2))[number] for k in range(settings.crops)]
        own = {
            "ten": lambda picture=picture: ten_crops(picture, 16, 1.1),
            "random": lambda picture=picture, corners=corners: [
                random_crop(picture, 16, 1.125, corner) for corner in corners
            ],
        }[cropping]()
        with torch.inference_mode():
            expected = coder.encode(images.to_tensor(np.stack([np.asarray(crop) for crop in own])))
        found = one.select(np.full(settings.crops, number), np.arange(settings.crops))
        assert (found == expected).float().mean() > 0.99  # batches of another size round differently


def test_refusals(listed: Path, tokenizer: Path, tmp_path: Path) -> None:
    def run(**values: object) -> None:
        place = {"shard": values.pop("shard", 0), "shards": values.pop("shards", 1)}
        settings = CodesSettings(**{"crops": 1} | values)
        out = tmp_path / "shard_0.safetensors"
        encode.run(settings, images=listed, tokenizer=tokenizer, out=out, **place)

    with pytest.raises(CCAError, match=r"\(8, 8, 3\), but the tokenizer's are \(16, 16, 3\)"):
        run()
    with pytest.raises(CCAError, match="3 shards of 2 batches"):
        run(cropping="random", batch_size=600, shards=3)
    with pytest.raises(CCAError, match=r"shard 2 is out of range 0..1"):
        run(cropping="random", shard=2, shards=2)
    with pytest.raises(ValueError, match="cropping 'ten' makes 10 crops, not 1"):
        run(cropping="ten")


def test_crops_of_real_images_are_those_of_torchvisions_transforms(
    real_images: Callable[[str], Path],
) -> None:
    files = sorted(real_images("imagenet-samples").rglob("*.JPEG"))
    assert files
    for file in files[:20]:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        resized = transforms.Resize(288, interpolation=transforms.InterpolationMode.LANCZOS)(image)
        expected = transforms.functional.crop(resized, 0, 0, 256, 256)
        ours = random_crop(open_image(file, 3), 256, 1.125, (0, 0))
        assert (np.asarray(ours) == np.asarray(expected)).all()
        ten = transforms.TenCrop(384)(centre_crop(image, 422))
        found = ten_crops(open_image(file, 3), 384, 1.1)
        assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(found, ten, strict=True))
