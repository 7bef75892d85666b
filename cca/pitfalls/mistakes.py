"""Mistakes that are made with finished samples: a line each in `MISTAKES`, a pure function each."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from cca.data.images import ImageData
from cca.evaluate.images import Images
from cca.evaluate.protocol import LATER_SPATIAL, SPATIAL
from cca.rng import generator

ENLARGED = 1.5
"""Side of the images before a resize over that after it, as LlamaGen's 384 to 256."""


@dataclass(frozen=True)
class Case:
    """What is evaluated, and how: ``images`` (N, H, W, 3) uint8 with ``labels`` (N,).

    ``reference`` are images (M, H, W, 1 or 3) to compare with, None for the stored reference. sFID is of
    the extractor's feature ``layer``, the samples' in the wrong order if ``channels_first``. ``data`` is
    what a wrong reference can be made of; ``k`` is that of precision and recall, which need k + 1 images.
    """

    images: np.ndarray
    labels: np.ndarray
    data: ImageData
    k: int
    reference: Images | np.ndarray | None = None
    layer: str = SPATIAL
    channels_first: bool = False


@dataclass(frozen=True)
class Mistake:
    """A name, what was done, and the function that does it."""

    group: str
    name: str
    what: str
    spoil: Callable[[Case], Case]


def fewer(case: Case, divisor: int) -> Case:
    """The first N / ``divisor`` samples, k + 1 at least."""
    count = max(len(case.images) // divisor, case.k + 1)
    return replace(case, images=case.images[:count], labels=case.labels[:count])


def repeated(case: Case, times: int) -> Case:
    """N samples again, but ``times`` copies of few."""
    index = np.arange(len(case.images)) % -(-len(case.images) // times)
    return replace(case, images=case.images[index], labels=case.labels[index])


def sorted_by_class(case: Case) -> Case:
    """The same samples in the order of their labels."""
    order = np.argsort(case.labels, kind="stable")
    return replace(case, images=case.images[order], labels=case.labels[order])


def jpeg(case: Case, quality: int) -> Case:
    """Every image through Pillow's JPEG."""

    def through(image: np.ndarray) -> np.ndarray:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream))

    return replace(case, images=np.stack([through(image) for image in case.images]))


def resized(case: Case, mode: str, antialias: bool = False) -> Case:
    """Enlarged by bicubic interpolation, and back to size with ``mode`` of `F.interpolate`."""
    pixels = torch.from_numpy(case.images).permute(0, 3, 1, 2).float()
    size = tuple(pixels.shape[2:])
    large = tuple(round(ENLARGED * side) for side in size)
    pixels = F.interpolate(pixels, large, mode="bicubic")
    pixels = F.interpolate(pixels, size, mode=mode, antialias=antialias)
    return replace(case, images=pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())


def wrong_range(case: Case) -> Case:
    """Decoder output in [-1, 1] taken for [0, 1]: what is below 0 becomes black."""
    return replace(case, images=(2 * case.images.astype(np.int16) - 255).clip(0).astype(np.uint8))


def small_reference(case: Case, count: Callable[[ImageData], int]) -> Case:
    """A random subset of the training images as reference, k + 1 at least."""
    images = case.data.train_images
    order = generator("pitfalls", "reference").permutation(len(images))
    return replace(case, reference=images[order[: max(count(case.data), case.k + 1)]])


def heldout_reference(case: Case) -> Case:
    """The held-out images as reference."""
    return replace(case, reference=case.data.heldout_images)


def channels_first(spatial: np.ndarray, channels: int) -> np.ndarray:
    """Spatial features (N, H * W * channels) as (N, channels * H * W)."""
    return spatial.reshape(len(spatial), -1, channels).swapaxes(1, 2).reshape(len(spatial), -1)


MISTAKES = (
    Mistake("number", "half the samples", "N / 2 samples evaluated", partial(fewer, divisor=2)),
    Mistake("number", "a tenth of the samples", "N / 10 samples evaluated", partial(fewer, divisor=10)),
    Mistake("number", "4 copies of each", "4 processes with one seed", partial(repeated, times=4)),
    Mistake("file", "sorted by class", "samples in the order of their labels", sorted_by_class),
    Mistake("file", "JPEG, quality 95", "saved as JPEG", partial(jpeg, quality=95)),
    Mistake("file", "JPEG, quality 75", "saved as JPEG, Pillow's default", partial(jpeg, quality=75)),
    Mistake(
        "file",
        "resized, bicubic",
        f"from {ENLARGED:g} times the size by bicubic without antialias, LlamaGen's way",
        partial(resized, mode="bicubic"),
    ),
    Mistake(
        "file",
        "resized, bilinear",
        f"from {ENLARGED:g} times the size by bilinear with antialias",
        partial(resized, mode="bilinear", antialias=True),
    ),
    Mistake(
        "file",
        "resized, nearest",
        f"from {ENLARGED:g} times the size by nearest",
        partial(resized, mode="nearest"),
    ),
    Mistake("file", "[-1, 1] as [0, 1]", "decoder output not shifted before it is saved", wrong_range),
    Mistake(
        "reference",
        "a tenth of the reference",
        "statistics of 10 % of the training images",
        partial(small_reference, count=lambda data: len(data.train_images) // 10),
    ),
    Mistake("reference", "held-out reference", "statistics of the held-out images", heldout_reference),
    Mistake(
        "reference",
        "as few training images",
        "statistics of as many training images as are held out",
        partial(small_reference, count=lambda data: len(data.heldout_images)),
    ),
    Mistake(
        "features",
        "sFID, channels first",
        "samples' spatial features in the order channel, height, width",
        partial(replace, channels_first=True),
    ),
    Mistake(
        "features",
        "sFID, next layer",
        "spatial features of the next layer",
        partial(replace, layer=LATER_SPATIAL),
    ),
)
