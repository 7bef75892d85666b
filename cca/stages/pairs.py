"""The pairs that finetuning visits: (image, crop, label, negative label, masked), from the seed alone."""

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from cca import checkpoints
from cca.data import codes as code_data
from cca.data.images import check_labels
from cca.errors import CCAError
from cca.files import read_npz, sha256, write_npz
from cca.rng import generator
from cca.settings import Settings


class PairsSettings(Settings):
    """One epoch of pairs."""

    visits: int = Field(default=1, ge=1, description="visits of each image in the epoch")
    images: int | None = Field(
        default=None, ge=1, description="how many images, drawn from the seed, the epoch visits; None: all"
    )
    mask_rate: float = Field(default=0.1, ge=0, le=1, description="share of pairs that become unconditional")


@dataclass(frozen=True)
class Pairs:
    """Pairs in the order of their visits; five arrays of length P.

    Attributes:
        image, crop: which codes, int64.
        label: the image's label, or num_classes where masked, int64.
        negative: the label of the next pair in the order, or num_classes where masked, int64.
        masked: bool.
    """

    image: np.ndarray
    crop: np.ndarray
    label: np.ndarray
    negative: np.ndarray
    masked: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    @property
    def positive_pair(self) -> np.ndarray:
        """(P,) bool: the second label is no negative: masked, or equal to the first."""
        return self.label == self.negative

    def __getitem__(self, index: np.ndarray | slice) -> "Pairs":
        return Pairs(*(array[index] for array in astuple(self)))


@dataclass(frozen=True)
class Sides:
    """The two sides of B pairs.

    Attributes:
        tokens: (2, B, T) int64: of the image, and of the image again or of a sample in its place.
        labels: (2, B) int64.
        positive_pair: (B,) bool: the second side is no negative.
    """

    tokens: Tensor
    labels: Tensor
    positive_pair: Tensor


@dataclass(frozen=True)
class Epoch:
    """Pairs with their codes; ``fakes`` (P, T) are negatives under the own label, if they are not None."""

    pairs: Pairs
    codes: code_data.Codes
    fakes: np.ndarray | None

    def __len__(self) -> int:
        return len(self.pairs)

    def sides(self, index: np.ndarray | slice, device: torch.device) -> Sides:
        """Both sides of some pairs."""
        pairs = self.pairs[index]
        tokens = self.codes.select(pairs.image, pairs.crop)
        if self.fakes is None:
            second, negative, positive_pair = tokens, pairs.negative, pairs.positive_pair
        else:
            second = torch.from_numpy(self.fakes[index].astype(np.int64))
            negative, positive_pair = pairs.label, np.zeros(len(pairs), dtype=bool)
        return Sides(
            torch.stack([tokens, second]).to(device),
            torch.from_numpy(np.stack([pairs.label, negative])).to(device),
            torch.from_numpy(positive_pair).to(device),
        )


def make_pairs(labels: np.ndarray, crops: int, num_classes: int, settings: PairsSettings, seed: int) -> Pairs:
    """Draw an epoch's pairs.

    The negative label of a pair is the label of the NEXT pair in the epoch's global shuffled order
    (the last one takes the first's). The official code rolls labels inside each device's
    micro-batch; rolling over the whole order has the same distribution and does not depend on
    batch size or number of devices.

    Args:
        labels: (N,) labels of the images.
        crops: number of crops of each image.

    Raises:
        CCAError: fewer images than ``settings.images``.
    """
    rng = generator("pairs", seed)
    visited = np.arange(len(labels))
    if settings.images is not None:
        if settings.images > len(labels):
            raise CCAError(f"pairs.images is {settings.images}, but there are {len(labels)} training images")
        visited = generator("pairs.images", seed).permutation(visited)[: settings.images]
    image = rng.permutation(np.tile(visited, settings.visits))
    crop = rng.integers(crops, size=len(image))
    masked = rng.random(len(image)) < settings.mask_rate
    label = labels[image]
    negative = np.roll(label, -1)
    return Pairs(
        image,
        crop,
        np.where(masked, num_classes, label),
        np.where(masked, num_classes, negative),
        masked,
    )


def run(settings: PairsSettings, *, codes: Path, out: Path, seed: int) -> dict:
    """Stage ``pairs``: write the epoch's pairs."""
    data = code_data.load(codes)
    pairs = make_pairs(data.labels, data.shape[1], data.num_classes, settings, seed)
    write_npz(out, **{field.name: getattr(pairs, field.name) for field in fields(pairs)})
    return {"pairs": len(pairs), "masked": int(pairs.masked.sum())}


def load(path: Path, codes: code_data.Codes) -> Pairs:
    """Read pairs and check that they point into ``codes``.

    Raises:
        CCAError: damaged file, or indices or labels out of range.
    """
    pairs = Pairs(**read_npz(path, *(field.name for field in fields(Pairs))))
    images, crops, _ = codes.shape
    for name, bound in (("image", images), ("crop", crops)):
        values = getattr(pairs, name)
        if not (values.min() >= 0 and values.max() < bound):
            raise CCAError(
                f"{path}: {name} index {values.max()} is out of range 0..{bound - 1}; other codes?"
            )
    for name in ("label", "negative"):
        check_labels(getattr(pairs, name), codes.num_classes + 1, path)
    return pairs


def made_of(*files: Path | None) -> np.ndarray:
    """SHA-256 of what ``files`` hold, in their order: kept in what is made of them, see `check_made_of`."""
    contents = " ".join(sha256(path) for path in files if path is not None)
    return np.array(hashlib.sha256(contents.encode()).hexdigest())


def check_made_of(kept: Mapping[Path, np.ndarray], *files: Path | None) -> None:
    """Raise a `CCAError` unless what each file has ``kept`` is `made_of` these files."""
    expected = str(made_of(*files))
    for path, found in kept.items():
        if str(found) != expected:
            given = ", ".join(str(file) for file in files if file is not None)
            raise CCAError(f"{path}: not made of the files given ({given}); make it again of them")


def load_epoch(*, base: Path, codes: Path, pairs: Path, fakes: Path | None) -> Epoch:
    """Read pairs, the codes that they point into, and the samples that are their negatives, if any.

    Raises:
        CCAError: as `load`; a model of other classes than the codes' (an imported one may be); samples of
            another model or of other pairs or codes.
    """
    data = code_data.load(codes)
    (classes,) = checkpoints.described(checkpoints.metadata(base), base, "num_classes")
    if classes != data.num_classes:
        raise CCAError(f"{base}: a model of {classes} classes; {codes}: codes of {data.num_classes}")
    drawn = load(pairs, data)
    if fakes is None:
        return Epoch(drawn, data, None)
    samples = read_npz(fakes, "codes", "made_of")
    check_made_of({fakes: samples["made_of"]}, base, codes, pairs)
    return Epoch(drawn, data, samples["codes"])
