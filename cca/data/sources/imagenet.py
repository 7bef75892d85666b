"""ImageNet-1k in its usual layout, ``train/nXXXXXXXX/*.JPEG``: listed and checked, decoded when wanted.

All 1,000 class folders have to be there; labels are their order by name, as in every published model. Where
``val/`` has class folders too, its images are the held-out ones; without it none are.
"""

import hashlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cca.data.decode import Corrupt, CorruptImageError
from cca.data.files import FileImages
from cca.data.images import DataSettings
from cca.data.listing import digest, digests, list_folders
from cca.data.sources import RawImages
from cca.errors import CCAError
from cca.files import cache_folder, read_json, write_json

CLASSES = (Path(__file__).parent / "imagenet_classes.txt").read_text().split()
"""The WordNet identifiers of the 1,000 classes, in order."""

NAMED = 5  # of many missing folders, so many are named


def fingerprint(settings: DataSettings) -> str:
    """SHA-256 of the names, sizes and times of change of all images, as far as their folders' times tell.

    Raises:
        CCAError: no such folder, or class folders are missing or too many.
    """
    root = _root(settings)
    found = {part: list(digests(root / part, CLASSES).items()) for part in _parts(root, settings)}
    return hashlib.sha256(repr(found).encode()).hexdigest()


def read(settings: DataSettings) -> RawImages:
    """The list of all images, training images first; with ``corrupt: skip`` those that can be decoded.

    Looking for corrupt images decodes all of them, by `READERS` threads. What was found is kept in the
    user's cache, class by class, so that a killed search goes on.

    Raises:
        CCAError: no such folder, class folders missing, too many or empty, an empty image, or too many
            corrupt ones.
    """
    names, sizes, labels, heldout = [], [], [], []
    corrupt = Corrupt(settings.corrupt, settings.corrupt_limit)
    root = _root(settings)
    for part in _parts(root, settings):
        listed = list_folders(root / part, CLASSES)
        for label, (name, files) in enumerate(tqdm(listed.items(), desc=part)):
            folder = root / part / name
            if not files:
                raise CCAError(f"{folder}: no images in this class")
            unreadable = {}
            if settings.corrupt == "skip":
                found = _unreadable(folder, files, settings.channels)
                unreadable = dict.fromkeys(found, "cannot be read as an image")
            unreadable |= {file.name: "is empty" for file in files if not file.size}
            for file, why in sorted(unreadable.items()):
                corrupt.leave_out(f"{part}/{name}/{file}", CorruptImageError(f"{folder / file}: {why}"))
            files = [file for file in files if file.name not in unreadable]
            names += [f"{part}/{name}/{file.name}".encode() for file in files]
            sizes += [file.size for file in files]
            labels += [label] * len(files)
            heldout += [part == "val"] * len(files)
    images = FileImages(root, np.array(names), np.array(sizes), settings.image_size, settings.channels)
    return RawImages(images, np.array(labels), CLASSES, np.array(heldout), tuple(corrupt.names))


def _root(settings: DataSettings) -> Path:
    root = settings.root
    if root is None:
        raise CCAError("data.root is not given; name the folder above train/nXXXXXXXX/*.JPEG")
    if not (root / "train").is_dir():
        raise CCAError(f"data.root: {root} has no folder 'train'; name the one above train/nXXXXXXXX/*.JPEG")
    return root


def _parts(root: Path, settings: DataSettings) -> list[str]:
    """``train`` and, where it is wanted and there, ``val``: both checked."""
    has_val = settings.heldout_fraction is None and (root / "val").is_dir()
    parts = ["train", "val"] if has_val else ["train"]
    for part in parts:
        found = {path.name for path in (root / part).iterdir() if path.is_dir()}
        found = {name for name in found if not name.startswith(".")}
        missing, more = sorted({*CLASSES} - found), sorted(found - {*CLASSES})
        for folders, what in ((missing, "of 1000 class folders are missing"), (more, "folders are no class")):
            if folders:
                named = ", ".join(folders[:NAMED]) + (", ..." if len(folders) > NAMED else "")
                advice = "; sort its images into class folders, or move it away" if part == "val" else ""
                raise CCAError(f"{root / part}: {len(folders)} {what}: {named}{advice}")
    return parts


def _unreadable(folder: Path, files: list, channels: int) -> set[str]:
    """Names of the files of a class that cannot be decoded, looked up where these files were tried before."""
    cache = cache_folder("decoded") / f"{digest(files)}.json"
    if cache.is_file():
        return set(read_json(cache))
    names = np.array([file.name.encode() for file in files])
    images = FileImages(folder, names, np.array([file.size for file in files]), 1, channels)
    found = [name.decode() for name in names[images.corrupt()]]
    write_json(cache, found)
    return set(found)
