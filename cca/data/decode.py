"""Decoding of image files of any mode, and what is done with those that cannot be."""

from pathlib import Path

import numpy as np
from PIL import Image

from cca.errors import CCAError
from cca.files import pictures


class CorruptImageError(CCAError):
    """A file that cannot be read as an image."""


class Corrupt:
    """The files of a reading that could not be decoded: a limited number may be left out.

    Attributes:
        names: the files left out so far.
    """

    def __init__(self, policy: str, limit: int):
        self.names: list[str] = []
        self._policy, self._limit = policy, limit

    def leave_out(self, name: str, error: CorruptImageError) -> None:
        """Note a file, or raise its error if the policy is not ``skip`` or there are too many.

        Raises:
            CCAError: one line that names the file and says what may be done.
        """
        if self._policy != "skip":
            raise CCAError(f"{error}; replace it, or leave such images out with data.corrupt: skip") from None
        self.names.append(name)
        if len(self.names) > self._limit:
            raise CCAError(
                f"{error}; that is more than data.corrupt_limit ({self._limit}) allows to leave out; "
                f"before it: {', '.join(self.names[:-1][:5]) or 'none'}"
            ) from None


def open_image(path: Path, channels: int) -> Image.Image:
    """The decoded image, grey for 1 channel, else RGB, by Pillow's ``convert``.

    Grey, CMYK, palette and alpha are converted, and the content decides about the format, not the name.

    Raises:
        CorruptImageError: not an image, a damaged one, or one of suspiciously many pixels.
    """
    try:
        with pictures.opened(path) as image:
            return pictures.decoded(image, path, "L" if channels == 1 else "RGB")
    except CCAError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise CorruptImageError(f"{path}: cannot be read as an image ({reason})") from error


def to_pixels(image: Image.Image) -> np.ndarray:
    """A grey or RGB image as uint8 (H, W, 1 or 3)."""
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


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
