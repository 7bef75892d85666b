"""How many images a tier trains on, told without reading them."""

from dataclasses import dataclass, replace

from cca.data.images import DataSettings
from cca.data.sources.folder import splits
from cca.errors import CCAError


@dataclass(frozen=True)
class Split:
    """How the images are split.

    Attributes:
        images: how many.
        classes: of how many classes.
        heldout: how many others are held out.
        kept: bytes of an image in the output of stage ``data``, or None where that holds its pixels.
    """

    images: int
    classes: int
    heldout: int = 0
    kept: int | None = None


KNOWN = {
    "cifar10": Split(50_000, 10, heldout=10_000),
    "imagenet": Split(1_281_167, 1_000, heldout=50_000, kept=16),  # their compressed list
    "mnist5k": Split(5_000, 10),
}
"""Of sources that always hold the same, before ``heldout_fraction`` and ``limit_per_class``."""


def training_split(data: DataSettings) -> Split:
    """How many images of how many classes a tier trains on, about: classes are taken to be of one size.

    Raises:
        CCAError: a source of unknown size, or a folder that is none.
    """
    if data.source == "folder":
        parts = splits(data.root)
        images, *others = (sum(map(len, classes.values())) for classes in parts)
        whole = Split(images, len(parts[0]), heldout=sum(others))
    elif data.source in KNOWN:
        whole = KNOWN[data.source]
    else:
        raise CCAError(
            f"cca plan: how many images the source '{data.source}' has is not in cca/plan/images.py"
        )
    share = data.heldout_fraction
    if share is not None and data.source == "imagenet":
        whole = replace(whole, heldout=0)  # its folder `val` is not read then
    both = whole.images + whole.heldout  # which a limit is of, and a fraction that takes a split's place
    if data.limit_per_class is not None:
        both = min(both, data.limit_per_class * whole.classes)
    if share is None:
        heldout = round(both * whole.heldout / (whole.images + whole.heldout))
    else:
        heldout = whole.classes * max(1, round(share * both / whole.classes))  # as the stage takes them
    return replace(whole, images=both - heldout, heldout=heldout)
