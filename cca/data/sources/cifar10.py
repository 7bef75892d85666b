"""CIFAR-10 (Krizhevsky 2009) from its binary version, with the official test images held out.

The binary version is read because the other one is pickled, and a pickle runs code where it is opened;
torchvision's ``CIFAR10`` unpickles that one, and its downloads start anew where they broke off. The
archive is never unpacked to the disk: its members are read by name.
"""

import tarfile
from pathlib import Path

import numpy as np

from cca.data.images import DataSettings
from cca.data.sources import RawImages
from cca.errors import CCAError
from cca.files import cache_folder, sha256
from cca.files.fetch import download

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
# Of the archive whose MD5 is the published c32a1d4ab5d03f1284b67883e8d87530 (the data set's page).
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FOLDER = "cifar-10-batches-bin"
TRAINING = [f"data_batch_{number}.bin" for number in range(1, 6)]
TEST = "test_batch.bin"
BATCH = 10_000
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NAMED = (
    "let data.root name cifar-10-binary.tar.gz or the folder unpacked from it (class sub-folders are the "
    "source 'folder')"
)
WAYS = f"leave data.root out to download {URL}, or {NAMED}"


def fingerprint(settings: DataSettings) -> str:
    """The archive's published checksum; of a ``data.root``, the sizes and times of change of its files.

    Raises:
        CCAError: nothing of the kind at ``data.root``.
    """
    if settings.root is None:
        return f"sha256 {SHA256}"
    states = [(path.name, path.stat()) for path in _files(settings.root)]
    return "; ".join(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)


def read(settings: DataSettings) -> RawImages:
    """The 60,000 images, 32 x 32 x 3, training images first; downloaded if no ``data.root`` is named.

    Raises:
        CCAError: another size or number of channels is asked for, no data, a wrong checksum, or damage.
    """
    if (settings.image_size, settings.channels) != (32, 3):
        raise CCAError("data: cifar10 has images of image_size 32 with channels 3; set both so")
    source = settings.root
    if source is None:
        source = cache_folder("data") / URL.rpartition("/")[2]
        if not source.is_file():
            try:
                download(URL, source, SHA256)
            except CCAError as error:
                raise CCAError(f"{error}; or {NAMED}") from None
    mend = WAYS if settings.root else "delete it, and it is downloaded again"
    batches = _from_folder(_files(source)) if source.is_dir() else _from_archive(source, mend)
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return RawImages(images, labels, CLASSES, heldout=np.arange(len(images)) >= BATCH * len(TRAINING))


def _files(root: Path) -> list[Path]:
    """The archive, or the six files of the folder unpacked from it (or of the one above)."""
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise CCAError(f"data.root: {root} does not exist; {WAYS}")
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    files = [folder / name for name in [*TRAINING, TEST]]
    if missing := [path for path in files if not path.is_file()]:
        pickled = (folder / TRAINING[0]).with_suffix("").is_file()
        why = " (the pickled version is there, which is never opened)" if pickled else ""
        raise CCAError(f"data.root: {missing[0]} does not exist{why}; {WAYS}")
    return files


def _from_folder(files: list[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [_decode(path.read_bytes(), str(path)) for path in files]


def _from_archive(archive: Path, mend: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batches of an archive whose checksum is the published one."""
    if (found := sha256(archive)) != SHA256:
        raise CCAError(
            f"{archive}: its SHA-256 is {found}, not {SHA256}: half a download, or another archive; {mend}"
        )
    with tarfile.open(archive, "r:gz") as tar:
        streams = {name: tar.extractfile(f"{FOLDER}/{name}") for name in [*TRAINING, TEST]}
        members = {name: stream.read() for name, stream in streams.items() if stream}
    return [_decode(content, f"{archive}: {name}") for name, content in members.items()]


def _decode(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and labels (N,) of a batch: records of a label, then R, G, B planes."""
    if len(content) != BATCH * 3073:
        raise CCAError(f"{where}: {len(content)} bytes, but a batch of CIFAR-10 has {BATCH * 3073}: damaged")
    records = np.frombuffer(content, np.uint8).reshape(BATCH, 3073)
    if records[:, 0].max() >= len(CLASSES):
        raise CCAError(f"{where}: label {records[:, 0].max()} is not one of {len(CLASSES)} classes: damaged")
    images = records[:, 1:].reshape(BATCH, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int64)
