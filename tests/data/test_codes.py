"""Codes of the training images: shards that change nothing, what is read of them, what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cca import tokenizers
from cca.data import codes, encode, images
from cca.data.augment import Augmentation
from cca.data.encode import CodesSettings
from cca.errors import CCAError
from cca.files import read_npz, write_npz


def everything(data: codes.Codes) -> np.ndarray:
    """All codes (N, K, T)."""
    image, crop = np.divmod(np.arange(data.shape[0] * data.shape[1]), data.shape[1])
    return data.select(image, crop).numpy().reshape(data.shape)


def make(world, out: Path, shards: int = 1, **values: object) -> codes.Codes:
    settings = CodesSettings(**{"crops": 2, "batch_size": 7} | values)
    for shard in range(shards):
        path = out / f"codes/{shards}/shard_{shard}.safetensors"
        inputs = {"images": world.images, "tokenizer": world.tokenizer}
        encode.run(settings, **inputs, out=path, shard=shard, shards=shards)
    return join(out, shards)


def join(out: Path, shards: int) -> codes.Codes:
    codes.run(codes.JoinSettings(), shards=out / f"codes/{shards}", out=out / "codes.npz")
    return codes.load(out / "codes.npz")


def test_without_augmentation_every_crop_is_the_images_own_codes(world) -> None:
    data = codes.load(world.codes)
    assert data.shape == (40, 2, 16)
    found = everything(data)
    assert (found[:, 0] == found[:, 1]).all()
    tokenizer = tokenizers.load(world.tokenizer)
    with torch.inference_mode():
        expected = tokenizer.encode(images.to_tensor(images.load(world.images).train_images))
    assert (found[:, 0] == expected.numpy()).all()
    assert (data.labels == images.load(world.images).train_labels).all()
    assert (data.vocab_size, data.num_classes) == (12, 3)


def test_augmented_crops_differ_repeat_and_are_the_same_in_any_number_of_shards(
    world, tmp_path: Path
) -> None:
    moved = {"crops": 3, "augmentation": Augmentation(shift=2, rotation=10, flip=True)}
    one, three = (make(world, tmp_path / str(shards), shards, **moved) for shards in (1, 3))
    assert [len(shard.codes) for shard in three.shards] == [14, 14, 12]
    a, b = everything(one), everything(three)
    assert (a == b).all() and (one.labels == three.labels).all()
    assert (a[:, 0] != a[:, 1]).any() and (a[:, 1] != a[:, 2]).any()
    other = everything(make(world, tmp_path / "other", **moved, seed=1))
    assert (a != other).any()


def test_select_picks_image_and_crop_across_shards(world, tmp_path: Path) -> None:
    data = make(world, tmp_path, 3, augmentation=Augmentation(shift=2))
    found = everything(data)
    image, crop = np.array([39, 0, 13, 14, 39]), np.array([1, 0, 0, 1, 0])
    picked = data.select(image, crop)
    assert picked.dtype == torch.int64 and (picked.numpy() == found[image, crop]).all()


def test_codes_stay_on_the_disk(world) -> None:
    (shard,) = codes.load(world.codes).shards
    inode = str(shard.path.stat().st_ino)
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if inode in line]
    start, end = (int(part, 16) for part in mapped[0][0].split("-"))
    assert start <= shard.codes.ctypes.data < end


def test_shards_that_do_not_belong_together_are_refused(world, tmp_path: Path) -> None:
    make(world, tmp_path, 3)
    folder = tmp_path / "codes/3"
    kept = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    other = make(world, tmp_path / "other", 3, seed=1).shards[1].path
    shutil.copy(other, folder / other.name)
    with pytest.raises(CCAError, match=r"shard_1.safetensors: of another run than shard_0"):
        join(tmp_path, 3)
    with pytest.raises(CCAError, match=r"shard_1.safetensors: made again since .*codes.npz was"):
        codes.load(tmp_path / "codes.npz")
    (folder / other.name).unlink()
    with pytest.raises(CCAError, match="images 14 to 27 are missing: encode those shards again"):
        join(tmp_path, 3)
    with pytest.raises(CCAError, match=r"shard_1.safetensors: no such file"):
        codes.load(tmp_path / "codes.npz")
    shutil.copy(folder / "shard_0.safetensors", folder / other.name)
    with pytest.raises(CCAError, match="images 0 to 13 are there twice"):
        join(tmp_path, 3)
    (folder / other.name).write_bytes(kept[other.name])
    (folder / "shard_2.safetensors").unlink()
    with pytest.raises(CCAError, match="28 of 40 images: encode those shards again"):
        join(tmp_path, 3)
    with pytest.raises(CCAError, match="no shard_"):
        codes.run(codes.JoinSettings(), shards=tmp_path, out=tmp_path / "none.npz")


def test_a_shard_outside_of_the_folder_is_refused(world, tmp_path: Path) -> None:
    (shard,) = make(world, tmp_path).shards
    described = read_npz(tmp_path / "codes.npz")
    for name in ("../codes/1/shard_0.safetensors", str(shard.path)):
        forged = tmp_path / "other/codes.npz"
        write_npz(forged, **described | {"shards": np.array([name])})
        with pytest.raises(CCAError, match="is no file below this folder"):
            codes.load(forged)


def test_a_half_written_and_a_damaged_shard_are_refused(world, tmp_path: Path) -> None:
    (shard,) = make(world, tmp_path).shards
    path, row = shard.path, shard.codes[20, 1].tobytes()
    whole = path.read_bytes()
    path.unlink()  # it is mapped
    path.write_bytes(whole[: len(whole) // 2])
    for attempt in (lambda: join(tmp_path, 1), lambda: codes.load(tmp_path / "codes.npz")):
        with pytest.raises(CCAError, match=r"shard_0.safetensors: damaged, half-written or no shard"):
            attempt()
    assert whole.count(row) == 2  # of both crops, which are alike here
    place = whole.rindex(row)
    path.unlink()
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    flipped = codes.load(tmp_path / "codes.npz")
    flipped.select(np.array([19, 20]), np.array([1, 0]))
    with pytest.raises(CCAError, match=r"shard_0.safetensors: damaged: codes are not what was written"):
        flipped.select(np.array([19, 20]), np.array([1, 1]))


@pytest.mark.parametrize(
    ("code", "label", "message"),
    [
        (12, 0, r"a code is out of range 0..11"),
        (-1, 0, r"a code is out of range 0..11"),
        (0, 3, r"label 3 is out of range 0..2"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, code: int, label: int, message: str) -> None:
    place = {"start": 0, "total": 4, "vocab_size": 12, "num_classes": 3, "made_of": ""}
    written, labels = np.zeros((4, 2, 5), np.int16), np.array([0, 1, 2, label])
    written.flat[5] = code
    encode.write(tmp_path / "codes/1/shard_0.safetensors", written, labels, place)
    with pytest.raises(CCAError, match=message):
        join(tmp_path, 1)
