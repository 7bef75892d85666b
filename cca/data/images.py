"""The images of a tier: read from a source, split once, kept in one ``.npz``, or listed there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from cca import plugins
from cca.data.files import FileImages
from cca.errors import CCAError
from cca.files import read_npz, write_npz
from cca.rng import generator
from cca.settings import Settings


class DataSettings(Settings):
    """Where the images come from and how they are split."""

    source: str = Field(description="a module of cca.data.sources")
    root: Path | None = Field(default=None, description="folder of the source, where it needs one")
    image_size: int = Field(ge=4)
    channels: Annotated[Literal[1, 3], BeforeValidator(int)]
    heldout_fraction: float | None = Field(
        default=None, gt=0, lt=1, description="of each class, kept from all training; None: the source's own"
    )
    expected: int | None = Field(
        default=None, ge=1, description="how many training images there have to be, left out ones included"
    )
    limit_per_class: int | None = Field(default=None, ge=2, description="use only so many images a class")
    seed: int = 0
    corrupt: Literal["fail", "skip"] = Field(
        default="fail", description="what is done about image files that cannot be decoded"
    )
    corrupt_limit: int = Field(default=100, ge=0, description="skip: most files that may be left out")


@dataclass(frozen=True)
class ImageData:
    """The two splits; images (N, H, W, C) uint8, in memory or in files, and labels (N,) int64."""

    train_images: np.ndarray | FileImages
    train_labels: np.ndarray
    heldout_images: np.ndarray | FileImages
    heldout_labels: np.ndarray
    class_names: list[str]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def run(settings: DataSettings, *, out: Path) -> dict:
    """Stage ``data``: read the source, split it by class, write ``out``.

    Raises:
        CCAError: what the source or `split` raises, no split, or not as many training images as expected.
    """
    read_from = fingerprint(settings)
    raw = plugins.load("cca.data.sources", settings.source).read(settings)
    kept = raw.heldout if settings.heldout_fraction is None else settings.heldout_fraction
    if kept is None:
        raise CCAError(
            f"data.heldout_fraction is missing: source '{settings.source}' has no split of its own"
        )
    count = len(raw.class_names)
    train, heldout = split(raw.labels, count, kept, settings.limit_per_class, settings.seed)
    sizes = np.bincount(raw.labels[train], minlength=count)
    _check_count(settings, len(train), len(raw.corrupt), raw.class_names[sizes.argmin()], int(sizes.min()))
    arrays = _stored("train", raw.images, train) | _stored("heldout", raw.images, heldout)
    labels = {"train_labels": raw.labels[train], "heldout_labels": raw.labels[heldout]}
    write_npz(out, **arrays, **labels, class_names=np.array(raw.class_names))
    counts = {"train": len(train), "heldout": len(heldout), "classes": len(raw.class_names)}
    counts |= {"smallest_class": int(sizes.min()), "largest_class": int(sizes.max())}
    return {**counts, "corrupt": list(raw.corrupt), "fingerprint": read_from}


def _check_count(settings: DataSettings, found: int, left_out: int, smallest: str, of_it: int) -> None:
    """That no image is missing, up to those that were left out because they are corrupt."""
    wanted = settings.expected
    if wanted is not None and not wanted - left_out <= found <= wanted:
        raise CCAError(
            f"data: {found} training images where data.expected is {wanted}; the smallest class is "
            f"{smallest} with {of_it}: unpack the archives again, or set data.expected to null"
        )


def _stored(part: str, images: np.ndarray | FileImages, index: np.ndarray) -> dict[str, np.ndarray]:
    """What is written of a split's images: their pixels, or their list."""
    if isinstance(images, np.ndarray):
        return {f"{part}_images": images[index]}
    chosen = images.subset(index)
    return {
        f"{part}_files": chosen.names,
        f"{part}_sizes": chosen.sizes,
        "root": np.array(str(images.root)),
        "shape": np.array(images.shape[1:]),
    }


def fingerprint(settings: DataSettings) -> str:
    """What the source would read, told without reading it: changes where its images do.

    Raises:
        CCAError: the source has no images there.
    """
    return plugins.load("cca.data.sources", settings.source).fingerprint(settings)


def split(
    labels: np.ndarray, num_classes: int, kept: float | np.ndarray, limit: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and held-out images, of ``limit`` random ones a class: disjoint.

    ``kept`` is the share of every class that is held out, or says of every image whether it is: (N,) bool,
    which may be none.

    Raises:
        CCAError: a class has too few images for both splits.
    """
    rng = generator("split", seed)
    train, heldout = [], []
    for label in range(num_classes):
        members = rng.permutation(np.flatnonzero(labels == label))[:limit]
        if isinstance(kept, float):
            out = np.arange(len(members)) < max(1, round(kept * len(members)))
        else:
            out = kept[members]
        if out.all() or not (out.any() or (isinstance(kept, np.ndarray) and not kept.any())):
            raise CCAError(
                f"class {label} has {len(members)} images, too few for a training and a held-out split"
            )
        heldout.append(members[out])
        train.append(members[~out])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(heldout))


def part(labels: np.ndarray, num_classes: int, share: tuple[float, float]) -> np.ndarray:
    """Indices of a part of the images: of every class, in one seeded order, those from one share to another.

    Parts of shares that do not overlap are disjoint: (0, 0.8) and (0.8, 1) are all images, each once.

    Raises:
        CCAError: no image of some class is in the part.
    """
    rng, chosen = generator("part"), []
    for label in range(num_classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        first, last = (round(end * len(members)) for end in share)
        if first == last:
            raise CCAError(f"class {label} has {len(members)} training images, none in the share {share}")
        chosen.append(members[first:last])
    return np.sort(np.concatenate(chosen))


def load(path: Path) -> ImageData:
    """Read what `run` wrote.

    Raises:
        CCAError: damaged file, wrong shapes, or labels out of range.
    """
    arrays = read_npz(path)
    class_names = [str(name) for name in _one(arrays, "class_names", path)]
    splits: dict[str, Any] = {}
    for part in ("train", "heldout"):
        images, labels = _images(arrays, part, path), _one(arrays, f"{part}_labels", path)
        if len(images) != len(labels):
            raise CCAError(f"{path}: {len(images)} {part} images, but {len(labels)} labels")
        check_labels(labels, len(class_names), path)
        splits |= {f"{part}_images": images, f"{part}_labels": labels}
    return ImageData(class_names=class_names, **splits)


def _one(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    if name not in arrays:
        raise CCAError(f"{path}: array '{name}' is missing; the file holds {', '.join(arrays) or 'nothing'}")
    return arrays[name]


def _images(arrays: dict[str, np.ndarray], part: str, path: Path) -> np.ndarray | FileImages:
    """The images of a split that `_stored` wrote."""
    if f"{part}_files" not in arrays:
        images = _one(arrays, f"{part}_images", path)
        if images.ndim != 4 or images.dtype != np.uint8:
            raise CCAError(f"{path}: {part}_images must be uint8 (N, H, W, C) with a label each")
        return images
    names, sizes = arrays[f"{part}_files"], _one(arrays, f"{part}_sizes", path)
    shape = _one(arrays, "shape", path)
    if (
        names.dtype.kind != "S"
        or names.shape != sizes.shape
        or shape.shape != (3,)
        or shape.dtype.kind not in "iu"
    ):
        raise CCAError(f"{path}: {part}_files must be names with a size each, and 'shape' three integers")
    _, image_size, channels = shape
    root = Path(str(_one(arrays, "root", path)))
    return FileImages(root, names, sizes, int(image_size), int(channels))


def require_heldout(data: ImageData, path: Path) -> None:
    """Raise a `CCAError` if there are no held-out images."""
    if not len(data.heldout_images):
        raise CCAError(
            f"{path}: no held-out images, for the source has none: add them (ImageNet's are in its folder "
            "'val'), or set data.heldout_fraction"
        )


def check_labels(labels: np.ndarray, num_classes: int, path: Path) -> None:
    """Raise a `CCAError` unless all labels are in 0..num_classes-1."""
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        worst = labels.max() if labels.max() >= num_classes else labels.min()
        raise CCAError(f"{path}: label {worst} is out of range 0..{num_classes - 1}")


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, C) to float32 (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)
