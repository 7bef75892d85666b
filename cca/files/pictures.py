"""Image files of unknown origin: a few formats, a limit of pixels, one line for whatever else is in them.

Pillow's other formats are never tried: one of them, EPS, starts another program to be drawn.
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from cca.errors import CCAError, one_line

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is an error here

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 2**27  # where Pillow's own limit is off


def opened(path: Path) -> Image.Image:
    """An image whose header is read and not its pixels; use it as a context.

    Raises:
        CCAError: not an image of these formats, or one of more pixels than Pillow allows.
    """
    most = Image.MAX_IMAGE_PIXELS or MOST_PIXELS
    try:
        image = Image.open(path, formats=FORMATS)
        if image.width * image.height <= most:
            return image
        image.close()
    except Image.DecompressionBombError:
        pass  # twice as many
    except Exception as error:  # Pillow's readers raise almost anything of damaged bytes
        raise CCAError(f"{path}: not an image ({one_line(error)})") from error
    raise CCAError(f"{path}: more than {most:,} pixels; refused as a decompression bomb")


def decoded(image: Image.Image, path: Path, mode: str | None = None) -> Image.Image:
    """The image with its pixels, converted to ``mode`` where one is given.

    Raises:
        CCAError: they are damaged.
    """
    try:
        image.load()
        return image if mode is None else image.convert(mode)
    except Exception as error:
        raise CCAError(f"{path}: a damaged image ({one_line(error)})") from error


def pixels(image: Image.Image, path: Path) -> np.ndarray:
    """The pixels of an opened image, uint8 (H, W, C), or (H, W) of a grey one; raises as `decoded`."""
    return np.asarray(decoded(image, path))
