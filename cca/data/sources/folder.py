"""Any folder of class sub-folders with images of any size, grey or colour.

Or one of ``train`` and ``test`` (or ``val``), each with the same class sub-folders: the second is held out.
"""

import hashlib
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cca.data.decode import Corrupt, CorruptImageError, centre_crop, open_image, to_pixels
from cca.data.images import DataSettings
from cca.data.listing import SUFFIXES
from cca.data.sources import RawImages
from cca.errors import CCAError

HELDOUT = ("test", "val")


def fingerprint(settings: DataSettings) -> str:
    """SHA-256 of the relative paths, sizes and times of change of all images.

    Raises:
        CCAError: no such folder, no class, or an empty class; two splits of other classes.
    """
    digest = hashlib.sha256()
    for classes in splits(settings.root):
        for path in chain(*classes.values()):
            status = path.stat()
            name = path.relative_to(settings.root or "").as_posix()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def read(settings: DataSettings) -> RawImages:
    """All images of ``settings.root``; the sub-folders' names in order are the classes.

    Raises:
        CCAError: no such folder, no class, an empty class, two splits of other classes, or an image that
            cannot be read (with ``corrupt: skip``, more of them than ``corrupt_limit``).
    """
    folders = splits(settings.root)
    listed = [
        (path, label, out)
        for out, classes in enumerate(folders)
        for label, files in enumerate(classes.values())
        for path in files
    ]
    images, kept = [], []
    corrupt = Corrupt(settings.corrupt, settings.corrupt_limit)
    for path, label, out in tqdm(listed, desc="reading images"):
        try:
            image = open_image(path, settings.channels)
        except CorruptImageError as error:
            corrupt.leave_out(path.relative_to(settings.root or "").as_posix(), error)
            continue
        images.append(to_pixels(centre_crop(image, settings.image_size)))
        kept.append((label, out))
    if not kept:
        raise CCAError(f"{settings.root}: none of its {len(listed)} images can be read")
    labels, outs = np.array(kept, dtype=np.int64).T
    return RawImages(
        np.stack(images),
        labels,
        list(folders[0]),
        heldout=outs == 1 if len(folders) == 2 else None,
        corrupt=tuple(corrupt.names),
    )


def splits(root: Path | None) -> list[dict[str, list[Path]]]:
    """Training images and, where the folder has a split of its own, held-out ones, as of `list_images`.

    Raises:
        CCAError: as there, or the two have not the same classes.
    """
    held = [root / name for name in HELDOUT if (root / name).is_dir()] if root else []
    if root is None or not held or not (root / "train").is_dir():
        return [list_images(root)]
    training, heldout = list_images(root / "train"), list_images(held[0])
    if strays := sorted(training.keys() ^ heldout.keys()):
        raise CCAError(f"{root}: class {strays[0]} is in one of train and {held[0].name} only")
    return [training, heldout]


def list_images(root: Path | None) -> dict[str, list[Path]]:
    """The image files of every class but hidden ones, classes and files in the order of their names.

    Raises:
        CCAError: no such folder, no class, or an empty class.
    """
    if root is None or not root.is_dir():
        raise CCAError(f"data.root: {root} is not a folder; name one whose sub-folders are the classes")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise CCAError(f"{root}: no sub-folders; put the images of each class into a folder of its own")
    classes = {}
    for folder in folders:
        names = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        shown = (name for name in names if not any(part.startswith(".") for part in name.parts))
        files = sorted(folder / name for name in shown)
        if not files:
            raise CCAError(f"{folder}: no images ({', '.join(sorted(SUFFIXES))}) in this class")
        classes[folder.name] = files
    return classes
