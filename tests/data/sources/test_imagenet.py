"""ImageNet's layout from a made-up one: what is listed, refused, left out, and noticed when it changes."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cca.data import images
from cca.data.decode import centre_crop
from cca.data.files import FileImages, of_size
from cca.data.sources.imagenet import CLASSES
from cca.errors import CCAError
from cca.files import write_npz


def settings(root: Path, **values: object) -> images.DataSettings:
    return images.DataSettings(
        **{"source": "imagenet", "root": root, "image_size": 16, "channels": 3} | values
    )


@pytest.fixture
def root(tmp_path: Path, imagenet_root: Path) -> Path:
    return Path(shutil.copytree(imagenet_root, tmp_path / "imagenet"))


def settle(root: Path) -> None:
    """Make the folders' times of change old enough to be trusted."""
    an_hour_ago = time.time_ns() - 3600 * 10**9
    for name in CLASSES:
        os.utime(root / "train" / name, ns=(an_hour_ago, an_hour_ago))


def test_classes_are_the_thousand_in_the_order_of_their_names() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 1000 and sorted(CLASSES) == CLASSES
    # Indices of published models: tench, goldfish, golden retriever, toilet tissue.
    known = {0: "n01440764", 1: "n01443537", 207: "n02099601", 999: "n15075141"}
    assert {index: CLASSES[index] for index in known} == known


def test_images_stay_in_their_files_and_are_what_they_are_when_asked_for(
    imagenet_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "images.npz"
    counts = images.run(settings(imagenet_root), out=out)
    assert (counts["train"], counts["heldout"], counts["classes"]) == (1001, 0, 1000)
    assert (counts["smallest_class"], counts["largest_class"], counts["corrupt"]) == (1, 2, [])
    assert out.stat().st_size < 100_000
    data = images.load(out)
    assert isinstance(data.train_images, FileImages) and data.train_images.shape == (1001, 16, 16, 3)
    with pytest.raises(
        CCAError, match=r"no held-out images.*: add them .ImageNet's are in its folder 'val'."
    ):
        images.require_heldout(data, out)
    assert data.train_labels.tolist() == [0, *range(1000)]
    # The same files by the source that reads all pixels at once.
    shutil.copytree(imagenet_root / "train" / CLASSES[0], tmp_path / "few" / CLASSES[0])
    shutil.copytree(imagenet_root / "train" / CLASSES[500], tmp_path / "few" / CLASSES[500])
    few = settings(tmp_path / "few", source="folder", heldout_fraction=0.5)
    read = images.plugins.load("cca.data.sources", "folder").read(few).images
    assert (data.train_images[np.array([501, 0, 1])] == read[[2, 0, 1]]).all()
    assert (data.train_images[:2] == read[:2]).all()
    batches = list(data.train_images.batches(400))
    assert [len(batch) for batch in batches] == [400, 400, 201] and (batches[1][101] == read[2]).all()
    assert len(data.train_images[np.array([], dtype=np.int64)]) == 0
    larger = of_size(data.train_images, 24, out)
    with Image.open(larger.path(1)) as picture:
        assert (larger[1:2][0] == np.asarray(centre_crop(picture, 24))).all()
    with pytest.raises(CCAError, match="images of 16 x 16 pixels, where 24 are wanted"):
        of_size(read, 24, out)


def test_grey_cmyk_palette_and_png_under_a_jpegs_name_are_what_pillow_converts(
    root: Path, tmp_path: Path
) -> None:
    expected = {}
    for number, (mode, kind) in enumerate([("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG")]):
        file = root / "train" / CLASSES[number + 1] / f"{CLASSES[number + 1]}_0.JPEG"
        with Image.open(file) as image:
            image.resize((16, 16)).convert(mode).save(file, kind)
        with Image.open(file) as image:
            expected[number + 2] = np.asarray(image.convert("RGB"))
    images.run(settings(root), out=tmp_path / "images.npz")
    data = images.load(tmp_path / "images.npz")
    for index, pixels in expected.items():
        assert (data.train_images[index : index + 1][0] == pixels).all()


def test_val_is_held_out_where_it_is_there_unless_a_fraction_is_asked_for(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "train", root / "val")
    with pytest.raises(CCAError, match="class 1 has 1 images, too few"):
        images.run(settings(root, heldout_fraction=0.5), out=tmp_path / "images.npz")
    counts = images.run(settings(root), out=tmp_path / "images.npz")
    assert (counts["train"], counts["heldout"]) == (1001, 1001)
    data = images.load(tmp_path / "images.npz")
    assert (data.heldout_images[:5] == data.train_images[:5]).all()
    assert data.heldout_images.path(0) == root / "val" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"


def test_folders_that_are_missing_or_too_many_are_named(root: Path, tmp_path: Path) -> None:
    def refused(message: str) -> None:
        for attempt in (images.fingerprint, lambda wanted: images.run(wanted, out=tmp_path / "images.npz")):
            with pytest.raises(CCAError, match=message):
                attempt(settings(root))

    (root / "train" / "n99999999").mkdir()
    refused(r"train: 1 folders are no class: n99999999$")
    (root / "train" / "n99999999").rmdir()
    for name in (CLASSES[7], CLASSES[3]):
        shutil.rmtree(root / "train" / name)
    refused(rf"train: 2 of 1000 class folders are missing: {CLASSES[3]}, {CLASSES[7]}$")
    for name in CLASSES[10:20]:
        shutil.rmtree(root / "train" / name)
    refused(rf"12 of 1000 class folders are missing: {CLASSES[3]}, .*{CLASSES[12]}, \.\.\.$")
    shutil.rmtree(root / "train")
    refused(r"has no folder 'train'; name the one above train/nXXXXXXXX/\*.JPEG")


def test_an_empty_class_and_an_unsorted_val_are_refused(root: Path, tmp_path: Path) -> None:
    (root / "val").mkdir()
    with pytest.raises(CCAError, match=r"val: 1000 of 1000 class .*; sort its images into class folders"):
        images.run(settings(root), out=tmp_path / "images.npz")
    (root / "val").rmdir()
    (root / "train" / CLASSES[4] / f"{CLASSES[4]}_0.JPEG").unlink()
    with pytest.raises(CCAError, match=rf"{CLASSES[4]}: no images in this class"):
        images.run(settings(root), out=tmp_path / "images.npz")
    assert not (tmp_path / "images.npz").exists()


def test_corrupt_images_are_named_counted_and_left_out_up_to_a_limit(root: Path, tmp_path: Path) -> None:
    broken = [root / "train" / CLASSES[0] / f"{CLASSES[0]}_1.JPEG"]
    broken[0].write_bytes(broken[0].read_bytes()[:300])
    out = tmp_path / "images.npz"
    images.run(settings(root), out=out)  # nothing is decoded for a list
    broken[0].with_name("empty.JPEG").touch()
    with pytest.raises(CCAError, match=r"empty.JPEG: is empty; .*data.corrupt: skip"):
        images.run(settings(root), out=tmp_path / "empty.npz")
    broken[0].with_name("empty.JPEG").unlink()
    with pytest.raises(CCAError, match=r"_1.JPEG: cannot be read as an image .*data.corrupt: skip"):
        images.load(out).train_images[:3]
    counts = images.run(settings(root, corrupt="skip"), out=out)
    assert counts["corrupt"] == [f"train/{CLASSES[0]}/{broken[0].name}"] and counts["train"] == 1000
    assert len(images.load(out).train_images[:]) == 1000
    with pytest.raises(CCAError, match=r"_1.JPEG: .* more than data.corrupt_limit \(0\)"):
        images.run(settings(root, corrupt="skip", corrupt_limit=0), out=out)


def test_a_search_for_corrupt_images_goes_on_where_it_was_ended(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def decodes(self: FileImages, number: int) -> bool:
        tried.append(self.path(number))
        if len(tried) == 500:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(FileImages, "_is_corrupt", decodes)
    wanted = settings(root, corrupt="skip")
    with pytest.raises(KeyboardInterrupt):
        images.run(wanted, out=tmp_path / "images.npz")
    images.run(wanted, out=tmp_path / "images.npz")
    assert len(tried) == 1001 + 1 and len(set(tried)) == 1001
    new = root / "train" / CLASSES[3] / "new.jpg"
    shutil.copy(tried[0], new)
    images.run(wanted, out=tmp_path / "images.npz")
    assert {path.parent for path in tried[1002:]} == {new.parent} and len(tried) == 1004


def test_the_fingerprint_changes_with_images_and_looks_at_changed_folders_only(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cca.data import listing

    listed = []
    original = listing.list_images
    monkeypatch.setattr(listing, "list_images", lambda folder: listed.append(folder.name) or original(folder))
    settle(root)

    def look() -> str:
        listed.clear()
        return images.fingerprint(settings(root))

    first = look()
    assert len(listed) == 1000
    assert look() == first and not listed
    folder = root / "train" / CLASSES[5]
    (folder / "notes.txt").touch()
    assert look() == first and listed == [CLASSES[5]]
    file = folder / f"{CLASSES[5]}_0.JPEG"
    shutil.copy2(file, folder / "new.jpeg")
    second = look()
    assert second != first and listed == [CLASSES[5]]
    assert look() == second and listed == [CLASSES[5]], "a folder that has just changed is not trusted"
    (folder / "new.jpeg").unlink()
    assert look() == first


def test_files_that_changed_after_they_were_listed_are_refused(root: Path, tmp_path: Path) -> None:
    images.run(settings(root), out=tmp_path / "images.npz")
    data = images.load(tmp_path / "images.npz").train_images
    file = data.path(3)
    with file.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(CCAError, match=r"has \d+ bytes, not \d+ since it was listed; run stage 'data' again"):
        data[np.array([2, 3])]
    file.unlink()
    with pytest.raises(CCAError, match=rf"{file.name}: is gone since it was listed"):
        data[np.array([2, 3])]


def test_a_damaged_list_is_refused(imagenet_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.npz"
    images.run(settings(imagenet_root, limit_per_class=2), out=out)
    arrays = images.read_npz(out)
    write_npz(out, **arrays | {"train_sizes": arrays["train_sizes"][1:]})
    with pytest.raises(CCAError, match="train_files must be names with a size each"):
        images.load(out)
    del arrays["train_sizes"]
    write_npz(out, **arrays)
    with pytest.raises(CCAError, match="array 'train_sizes' is missing"):
        images.load(out)
