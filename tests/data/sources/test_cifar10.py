"""CIFAR-10's binary version from made-up batches: decoding, its own split, refusals."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from cca.data import images
from cca.data.sources import cifar10
from cca.errors import CCAError
from cca.files import fetch, sha256

NAMES = [*cifar10.TRAINING, cifar10.TEST]
SIZE = 20


def settings(**values: object) -> images.DataSettings:
    return images.DataSettings(**{"source": "cifar10", "image_size": 32, "channels": 3} | values)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "BATCH", SIZE)


@pytest.fixture
def made() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of every batch; two of each class."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(len(NAMES), SIZE, 32, 32, 3), dtype=np.uint8)
    return {
        name: (part, rng.permutation(np.arange(SIZE) % 10)) for name, part in zip(NAMES, pixels, strict=True)
    }


def encoded(pictures: np.ndarray, labels: np.ndarray) -> bytes:
    """As the data set's page says: a byte of label, then 1024 of red, of green and of blue, row by row."""
    return b"".join(
        bytes([int(label)]) + b"".join(picture[:, :, channel].tobytes() for channel in range(3))
        for picture, label in zip(pictures, labels, strict=True)
    )


@pytest.fixture
def folder(tmp_path: Path, made: dict) -> Path:
    root = tmp_path / "unpacked" / cifar10.FOLDER
    root.mkdir(parents=True)
    for name, batch in made.items():
        (root / name).write_bytes(encoded(*batch))
    return root


@pytest.fixture
def archive(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, cifar10.FOLDER)
        outside = tarfile.TarInfo("../outside.txt")
        outside.size = 4
        tar.addfile(outside, io.BytesIO(b"evil"))
    monkeypatch.setattr(cifar10, "SHA256", sha256(path))
    return path


def test_images_labels_and_split(folder: Path, made: dict) -> None:
    for root in (folder, folder.parent):
        raw = cifar10.read(settings(root=root))
        assert (raw.images == np.concatenate([made[name][0] for name in NAMES])).all()
        assert (raw.labels == np.concatenate([made[name][1] for name in NAMES])).all()
        assert np.flatnonzero(raw.heldout).tolist() == list(range(5 * SIZE, 6 * SIZE))
        assert len(raw.class_names) == 10


def test_the_official_test_images_are_held_out(folder: Path, made: dict, tmp_path: Path) -> None:
    measured = images.run(settings(root=folder), out=tmp_path / "images.npz")
    assert (measured["train"], measured["heldout"]) == (5 * SIZE, SIZE)
    data = images.load(tmp_path / "images.npz")
    assert (data.heldout_images == made[cifar10.TEST][0]).all()
    images.run(settings(root=folder, heldout_fraction=0.5), out=tmp_path / "half.npz")
    assert len(images.load(tmp_path / "half.npz").heldout_images) == 3 * SIZE


def test_the_archive_is_the_same_and_is_not_unpacked(archive: Path, folder: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    raw, same = cifar10.read(settings(root=archive)), cifar10.read(settings(root=folder))
    assert (raw.images == same.images).all() and (raw.labels == same.labels).all()
    assert sorted(tmp_path.rglob("*")) == before and not (tmp_path.parent / "outside.txt").exists()


def test_without_a_root_the_archive_is_downloaded_to_the_cache(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, out: Path, expected: str) -> None:
        assert (url, expected) == (cifar10.URL, cifar10.SHA256)
        out.parent.mkdir(parents=True)
        shutil.copyfile(archive, out)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10, "download", download)
    for _ in range(2):  # the second time it is there
        assert len(cifar10.read(settings()).images) == 6 * SIZE
    assert cifar10.fingerprint(settings()) == f"sha256 {cifar10.SHA256}"
    kept = tmp_path / "cache/cca/data/cifar-10-binary.tar.gz"
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(CCAError, match=rf"{kept}: .*; delete it, and it is downloaded again$"):
        cifar10.read(settings())


def test_without_a_network_both_ways_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fetch, "PAUSE", 0)
    monkeypatch.setattr(cifar10, "URL", "http://127.0.0.1:9/cifar-10-binary.tar.gz")
    with pytest.raises(CCAError, match=r"tar.gz: not fetched .* data.root .*source 'folder'") as error:
        cifar10.read(settings())
    assert "\n" not in str(error.value)


def test_a_fingerprint_follows_the_files(folder: Path, archive: Path) -> None:
    first = [cifar10.fingerprint(settings(root=root)) for root in (folder, archive)]
    assert first == [cifar10.fingerprint(settings(root=root)) for root in (folder, archive)]
    for path in (folder / NAMES[2], archive):
        path.write_bytes(path.read_bytes()[:-1])
    changed = [cifar10.fingerprint(settings(root=root)) for root in (folder, archive)]
    assert not set(first) & set(changed)


def refusal(root: Path, **values: object) -> str:
    with pytest.raises(CCAError) as error:
        cifar10.fingerprint(settings(root=root))
        cifar10.read(settings(root=root, **values))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refusals(folder: Path, archive: Path, tmp_path: Path) -> None:
    assert "image_size 32 with channels 3" in refusal(folder, image_size=28)
    assert "leave data.root out to download https" in refusal(tmp_path / "nowhere")
    archive.write_bytes(archive.read_bytes()[:-100])
    assert "half a download" in refusal(archive)
    batch = folder / NAMES[1]
    content = batch.read_bytes()
    batch.write_bytes(bytes([10]) + content[1:])
    assert f"{batch}: label 10 is not one of 10 classes" in refusal(folder)
    batch.write_bytes(content[:-1])
    assert f"{batch}: {SIZE * 3073 - 1} bytes" in refusal(folder)
    batch.unlink()
    assert f"{batch} does not exist; leave data.root out" in refusal(folder)


def test_the_pickled_version_is_named_and_never_opened(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).with_suffix("").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert "the pickled version is there, which is never opened" in refusal(tmp_path)
