"""Any folder of class sub-folders with images of any size, grey or colour."""

import hashlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cca.data.decode import Corrupt, CorruptImageError, centre_crop, open_image, to_pixels
from cca.data.images import DataSettings
from cca.data.listing import SUFFIXES
from cca.data.sources import RawImages
from cca.errors import CCAError


def fingerprint(settings: DataSettings) -> str:
    """SHA-256 of the relative paths, sizes and times of change of all images.

    Raises:
        CCAError: no such folder, no class, or an empty class.
    """
    digest = hashlib.sha256()
    for files in list_images(settings.root).values():
        for path in files:
            status = path.stat()
            name = path.relative_to(settings.root or "").as_posix()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def read(settings: DataSettings) -> RawImages:
    """All images of ``settings.root``; the sub-folders' names in order are the classes.

    Raises:
        CCAError: no such folder, no class, an empty class, or an image that cannot be read (with ``corrupt:
            skip``, more of them than ``corrupt_limit``).
    """
    classes = list_images(settings.root)
    images, labels = [], []
    corrupt = Corrupt(settings.corrupt, settings.corrupt_limit)
    for label, files in enumerate(tqdm(classes.values(), desc="reading classes")):
        for path in files:
            try:
                image = open_image(path, settings.channels)
            except CorruptImageError as error:
                corrupt.leave_out(path.relative_to(settings.root or "").as_posix(), error)
                continue
            images.append(to_pixels(centre_crop(image, settings.image_size)))
            labels.append(label)
    pixels, names = np.stack(images), tuple(corrupt.names)
    return RawImages(pixels, np.array(labels, dtype=np.int64), list(classes), corrupt=names)


def list_images(root: Path | None) -> dict[str, list[Path]]:
    """The image files of every class, classes and files in the order of their names.

    Raises:
        CCAError: no such folder, no class, or an empty class.
    """
    if root is None or not root.is_dir():
        raise CCAError(f"data.root: {root} is not a folder; name one whose sub-folders are the classes")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    if not folders:
        raise CCAError(f"{root}: no sub-folders; put the images of each class into a folder of its own")
    classes = {}
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise CCAError(f"{folder}: no images ({', '.join(sorted(SUFFIXES))}) in this class")
        classes[folder.name] = files
    return classes
