"""Images that stay in their files, too many for memory: indexed like an array, decoded on demand."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cca.data.decode import CorruptImageError, centre_crop, open_image, to_pixels
from cca.errors import CCAError
from cca.files import below


@dataclass(frozen=True, eq=False)
class FileImages:
    """N image files below a folder; ``images[index]`` are decoded, by so many threads as torch has.

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
        squares = [np.empty((0, *self.shape[1:]), np.uint8)]
        squares += [to_pixels(centre_crop(image, self.image_size))[None] for image in self.originals(index)]
        return np.concatenate(squares)

    def originals(self, index: np.ndarray | slice) -> list[Image.Image]:
        """The files at ``index`` decoded in their own sizes, RGB or grey.

        Raises:
            CCAError: as of ``images[index]``.
        """
        wanted = range(len(self))[index] if isinstance(index, slice) else np.asarray(index).tolist()
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(self._decode, wanted))

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All of them in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def subset(self, index: np.ndarray) -> "FileImages":
        """Only the files at ``index``."""
        return replace(self, names=self.names[index], sizes=self.sizes[index])

    def corrupt(self) -> np.ndarray:
        """(N,) bool: the files that cannot be decoded. All are read."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return np.fromiter(pool.map(self._is_corrupt, range(len(self))), bool, len(self))

    def path(self, number: int) -> Path:
        """Where a file is."""
        return below(self.root, self.names[number].decode(errors="surrogateescape"))

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
