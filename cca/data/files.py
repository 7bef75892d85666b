"""Images that stay in their files, too many for memory: indexed like an array, decoded on demand."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from cca.data.decode import CorruptImageError, centre_crop, open_image, to_pixels
from cca.errors import CCAError
from cca.files import below

T = TypeVar("T")
READERS = min(len(os.sched_getaffinity(0)), 16)
"""Threads that decode: one a core that this process may use, whatever torch has; they move no result."""


@dataclass(frozen=True, eq=False)
class FileImages:
    """N image files below a folder; ``images[index]`` are decoded, by `READERS` threads.

    Attributes:
        root: the folder.
        names: (N,) bytes, the files' paths below it.
        sizes: (N,) int64, the files' sizes in bytes when they were listed; another size is another file.
        image_size: side of the centre squares that ``images[index]`` cuts (`cca.data.decode.centre_crop`).
        channels: 1 or 3.
    """

    root: Path
    names: np.ndarray
    sizes: np.ndarray
    image_size: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C), as of an array of the images."""
        return len(self.names), self.image_size, self.image_size, self.channels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        """The centre squares of the files at ``index``: uint8 (B, H, W, C).

        Raises:
            CCAError: a file is gone, has changed since it was listed, or cannot be decoded.
        """
        squares = self._map(
            lambda number: to_pixels(centre_crop(self._decode(number), self.image_size)), index
        )
        return np.stack(squares) if squares else np.empty((0, *self.shape[1:]), np.uint8)

    def originals(self, index: np.ndarray | slice) -> list[Image.Image]:
        """The files at ``index`` decoded in their own sizes, RGB or grey.

        Raises:
            CCAError: as of ``images[index]``.
        """
        return self._map(self._decode, index)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All of them in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def subset(self, index: np.ndarray) -> "FileImages":
        """Only the files at ``index``."""
        return replace(self, names=self.names[index], sizes=self.sizes[index])

    def corrupt(self) -> np.ndarray:
        """(N,) bool: the files that cannot be decoded. All are read."""
        with ThreadPoolExecutor(READERS) as pool:
            return np.fromiter(pool.map(self._is_corrupt, range(len(self))), bool, len(self))

    def path(self, number: int) -> Path:
        """Where a file is."""
        return below(self.root, self.names[number].decode(errors="surrogateescape"))

    def _map(self, function: Callable[[int], T], index: np.ndarray | slice) -> list[T]:
        wanted = range(len(self))[index] if isinstance(index, slice) else np.asarray(index).tolist()
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(function, wanted))

    def _is_corrupt(self, number: int) -> bool:
        try:
            open_image(self.path(number), self.channels)
        except CorruptImageError:
            return True
        return False

    def _decode(self, number: int) -> Image.Image:
        path = self.path(number)
        size = path.stat().st_size if path.is_file() else None
        if size != self.sizes[number]:
            found = "is gone" if size is None else f"has {size} bytes, not {self.sizes[number]}"
            raise CCAError(f"{path}: {found} since it was listed; run stage 'data' again")
        try:
            return open_image(path, self.channels)
        except CorruptImageError as error:
            raise CCAError(f"{error}; replace it, or leave such images out with data.corrupt: skip") from None


def of_size(images: np.ndarray | FileImages, size: int, path: Path) -> np.ndarray | FileImages:
    """Images (N, size, size, C): as they are, or cut from their files in that size.

    Raises:
        CCAError: images in memory, from ``path``, have another size.
    """
    if images.shape[1:3] == (size, size):
        return images
    if isinstance(images, FileImages):
        return replace(images, image_size=size)
    raise CCAError(f"{path}: images of {images.shape[1]} x {images.shape[2]} pixels, where {size} are wanted")
