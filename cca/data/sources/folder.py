"""Any folder of class sub-folders with images of any size, grey or colour."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from cca.data.images import DataSettings
from cca.data.sources import RawImages
from cca.errors import CCAError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def fingerprint(settings: DataSettings) -> str:
    """SHA-256 of the relative paths, sizes and times of change of all images.

    Raises:
        CCAError: no such folder, no class, or an empty class.
    """
    digest = hashlib.sha256()
    for files in list_images(settings.root).values():
        for path in files:
            status = path.stat()
            name = path.relative_to(settings.root).as_posix()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def read(settings: DataSettings) -> RawImages:
    """All images of ``settings.root``; the sub-folders' names in order are the classes.

    Raises:
        CCAError: no such folder, no class, an empty class, or an image that cannot be read.
    """
    classes = list_images(settings.root)
    images, labels = [], []
    for label, files in enumerate(tqdm(classes.values(), desc="reading classes")):
        images += [_load(path, settings) for path in files]
        labels += [label] * len(files)
    return RawImages(np.stack(images), np.array(labels, dtype=np.int64), list(classes))


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


def _load(path: Path, settings: DataSettings) -> np.ndarray:
    try:
        with Image.open(path) as image:
            converted = image.convert("L" if settings.channels == 1 else "RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise CCAError(f"{path}: cannot be read as an image ({error})") from None
    pixels = np.asarray(centre_crop(converted, settings.image_size))
    return pixels.reshape(settings.image_size, settings.image_size, settings.channels)


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Shrink so that the shorter side is ``size``, then cut the centre square.

    The routine of ADM's data loader (guided-diffusion ``image_datasets.py``): halve with a box
    filter while the image is at least twice too large, then resize bicubically.
    """
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))
