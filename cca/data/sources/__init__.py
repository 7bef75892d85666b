"""Image sources. A source is a module with two functions of the `DataSettings`:

- ``read(settings) -> RawImages``;
- ``fingerprint(settings) -> str``: what would be read, told without reading it. Where it changes, the
  images are read again.
"""

from dataclasses import dataclass

import numpy as np

from cca.data.files import FileImages


@dataclass(frozen=True)
class RawImages:
    """All images of a data set, before it is split.

    Attributes:
        images: (N, H, W, C) uint8, C is 1 or 3; in files if they are too many for memory.
        labels: (N,) int64, indices into ``class_names``.
        class_names: one name a class.
        heldout: (N,) bool, the images that the source itself keeps from training, if it says.
        corrupt: names of the files that were left out because they cannot be read.
    """

    images: np.ndarray | FileImages
    labels: np.ndarray
    class_names: list[str]
    heldout: np.ndarray | None = None
    corrupt: tuple[str, ...] = ()
