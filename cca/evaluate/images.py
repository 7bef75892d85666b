"""Images in batches, from an array, an archive, shards, or a folder, in memory that does not grow with N."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from cca.errors import CCAError
from cca.files import pictures, sha256
from cca.files.archives import Archive

LOSSLESS = {".png", ".bmp", ".tif", ".tiff", ".ppm"}
LOSSY = {".jpg", ".jpeg", ".webp"}


class Images(Protocol):
    """Images that can be gone through in batches, as often as wanted, in the same order."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C), C = 3, or 1 for grey arrays of our own."""

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Uint8 arrays (size, H, W, C), the last one possibly smaller."""


class ArrayImages:
    """Images in memory: uint8 (N, H, W, 1 or 3)."""

    def __init__(self, images: np.ndarray):
        if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
            raise CCAError(
                f"images must be uint8 (N, H, W, 1 or 3), got {images.dtype} of shape {images.shape}"
            )
        self.shape = images.shape
        self._images = images

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Slices of the array."""
        for start in range(0, len(self._images), size):
            yield self._images[start : start + size]


class ArchiveImages:
    """The ``arr_0`` of an ADM ``.npz``, read a batch at a time.

    Raises:
        CCAError: the array is missing, empty, not uint8, or not N x H x W x 3.
    """

    def __init__(self, archive: Archive):
        self._archive = archive
        shape, dtype = archive.header("arr_0")
        where = f"{archive.path}: 'arr_0'"
        if dtype != np.uint8:
            raise CCAError(f"{where} is {dtype}; images must be uint8, 0 to 255, rounded by you")
        if len(shape) == 4 and shape[3] not in (1, 3, 4) and shape[1] in (1, 3, 4):
            raise CCAError(f"{where} has shape {shape}, channels first; save it as N x H x W x 3")
        if len(shape) == 3 and shape[2] in (3, 4):
            raise CCAError(f"{where} has shape {shape}, a single image; save it as N x H x W x 3")
        if len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 2, 4)):
            kind = "have alpha" if len(shape) == 4 and shape[3] != 1 else "are grey"
            raise CCAError(f"{where} has shape {shape}: its images {kind}; save RGB, N x H x W x 3")
        if len(shape) != 4 or shape[3] != 3 or 0 in shape[1:]:
            raise CCAError(f"{where} has shape {shape}; images are N x H x W x 3")
        if shape[0] == 0:
            raise CCAError(f"{where} is empty: no images")
        self.shape = shape

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Pieces of the array."""
        return self._archive.stream("arr_0", size)


class ShardImages:
    """The images of several archives, one after another."""

    def __init__(self, parts: list[ArchiveImages]):
        self._parts = parts
        self.shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Pieces of each archive; its last one may be smaller than ``size``."""
        for part in self._parts:
            yield from part.batches(size)


class ImageFolder:
    """The image files of a folder and its subfolders in the order of their names, decoded by threads.

    Raises:
        CCAError: no images, JPEG (unless allowed), grey or alpha images, or images of several sizes.
    """

    def __init__(self, folder: Path, allow_jpeg: bool = False):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in LOSSLESS | LOSSY)
        if not files:
            raise CCAError(
                f"{folder}: no images ({', '.join(sorted(LOSSLESS))}) and no shard_*.npz in this folder"
            )
        lossy = [path for path in files if path.suffix.lower() in LOSSY]
        if lossy and not allow_jpeg:
            raise CCAError(f"{lossy[0]}: {_NO_JPEG}")
        self._files, self._allow_jpeg = files, allow_jpeg
        with self._open(files[0]) as first:
            self._size = first.size
        self.shape = (len(files), self._size[1], self._size[0], 3)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Decoded files."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self._files), size):
                yield np.stack(list(pool.map(self._decode, self._files[start : start + size])))

    def sha256(self) -> str:
        """Of the files' checksums, in order."""
        with ThreadPoolExecutor() as pool:
            return combined(list(pool.map(sha256, self._files)))

    def _open(self, path: Path) -> Image.Image:
        image = pictures.opened(path)
        if image.format in ("JPEG", "WEBP") and not self._allow_jpeg:
            raise CCAError(f"{path}: {_NO_JPEG}")
        if image.mode != "RGB":
            raise CCAError(f"{path}: an image of mode {image.mode}; convert grey, palette and alpha to RGB")
        return image

    def _decode(self, path: Path) -> np.ndarray:
        with self._open(path) as image:
            if image.size != self._size:
                raise CCAError(
                    f"{path}: {image.size[0]} x {image.size[1]} px, where {self._files[0].name} has "
                    f"{self._size[0]} x {self._size[1]}; all images must have one size"
                )
            return pictures.pixels(image, path)


_NO_JPEG = "lossy compression moves FID by itself; save PNG, or allow JPEG and say so beside the number"


def combined(checksums: list[str]) -> str:
    """Checksum of several files' checksums, in order."""
    return hashlib.sha256("\n".join(checksums).encode()).hexdigest()
