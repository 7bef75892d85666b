"""One side of a comparison, read from a file or folder: images, kept features, stored statistics."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cca.errors import CCAError
from cca.evaluate.images import ArchiveImages, ImageFolder, Images, ShardImages, combined
from cca.evaluate.statistics import Statistics
from cca.files import atomic, sha256
from cca.files.archives import Archive
from cca.shards import Place, whole

LARGEST_DIMENSION = 16384
"""Most features that stored statistics may have; their covariance is read whole."""


@dataclass(frozen=True)
class Features:
    """What an extractor makes of N images.

    ``pool`` (N, D) for FID, precision and recall; ``spatial`` (N, D2) for sFID and ``logits`` (N, C) for
    the Inception Score, None where an extractor has none; ``colour`` (3,) the images' mean R, G, B.
    """

    pool: np.ndarray
    spatial: np.ndarray | None = None
    logits: np.ndarray | None = None
    colour: np.ndarray | None = None


@dataclass(frozen=True)
class Side:
    """What a file or folder offers, with the checksum of its content.

    ``statistics`` are stored ones, by name (``pool``, ``spatial``): they win over the images'.
    ``extractor`` is the ``name sha256`` that features or statistics were made with, if it says.
    """

    path: Path
    sha256: str
    images: Images | None = None
    features: Features | None = None
    statistics: dict[str, Statistics] = field(default_factory=dict)
    labels: np.ndarray | None = None
    extractor: str | None = None


def read_side(path: Path, allow_jpeg: bool = False) -> Side:
    """Read the reference or the samples of a comparison.

    Args:
        path: an ADM ``.npz`` (``arr_0`` uint8 NHWC RGB; ``mu, sigma, mu_s, sigma_s`` optional), a file of
            kept features (``pool, spatial, logits``), a file of both, a folder of images, or a folder of
            our sample shards.
        allow_jpeg: accept lossy images.

    Raises:
        CCAError: whatever is wrong with it, in one line.
    """
    if path.is_dir():
        if shards := sorted(path.glob("shard_*.npz")):
            return _read_shards(path, shards)
        folder = ImageFolder(path, allow_jpeg)
        return Side(path, folder.sha256(), folder)
    archive = Archive(path)
    features = _read_features(archive) if "pool" in archive else None
    statistics = _read_statistics(archive)
    images = None if "arr_0" not in archive and (features or statistics) else ArchiveImages(archive)
    count = 0 if images is None else images.shape[0]
    if "total" in archive and count != (total := archive.integer("total")):
        raise CCAError(f"{path}: one shard of {total} samples; give the folder of all shards")
    if images and features and count != len(features.pool):
        raise CCAError(f"{path}: features of {len(features.pool)} images beside {count} images")
    return Side(
        path,
        sha256(path),
        images,
        features,
        statistics,
        _read_labels(archive, len(features.pool) if features else count),
        str(archive.read_small("extractor", (), "U")) if "extractor" in archive else None,
    )


def write_features(path: Path, features: Features, extractor: str, labels: np.ndarray | None = None) -> None:
    """Keep features in an ``.npz`` that `read_side` accepts instead of images."""
    optional = {"spatial": features.spatial, "logits": features.logits, "colour": features.colour}
    optional["labels"] = labels
    arrays: dict[str, Any] = {name: array for name, array in optional.items() if array is not None}
    with atomic(path) as temporary:  # not compressed: floats hardly shrink, and it takes a minute
        np.savez(temporary, pool=features.pool, extractor=np.array(extractor), **arrays)


def _read_shards(folder: Path, paths: list[Path]) -> Side:
    """Our sample shards, which must be all there and fit together."""
    archives = [Archive(path) for path in paths]
    parts = [ArchiveImages(archive) for archive in archives]
    places = [Place.of(archive, part.shape[0]) for archive, part in zip(archives, parts, strict=True)]
    order = whole(folder, places, "samples", "sample those shards again")
    for index in order:
        if parts[index].shape[1:] != parts[order[0]].shape[1:]:
            raise CCAError(f"{paths[index]}: images of another size than those of {paths[order[0]].name}")
    labels = [_read_labels(archives[index], parts[index].shape[0]) for index in order]
    known = [part for part in labels if part is not None]
    return Side(
        folder,
        combined([sha256(paths[index]) for index in order]),
        ShardImages([parts[index] for index in order]),
        labels=np.concatenate(known) if len(known) == len(labels) else None,
    )


def _read_features(archive: Archive) -> Features:
    arrays = {}
    for name in ("pool", "spatial", "logits"):
        if name not in archive:
            continue
        shape, dtype = archive.header(name)
        if len(shape) != 2 or dtype not in (np.float16, np.float32, np.float64) or 0 in shape:
            raise CCAError(
                f"{archive.path}: '{name}' is {dtype} of shape {shape}; features are float16, float32 or "
                "float64 (N, D)"
            )
        arrays[name] = _finite(archive, name)
        if len(arrays[name]) != len(arrays["pool"]):
            raise CCAError(
                f"{archive.path}: {len(arrays[name])} rows of '{name}', {len(arrays['pool'])} of 'pool'"
            )
    colour = archive.read_small("colour", (3,), "f") if "colour" in archive else None
    return Features(**arrays, colour=colour)


def _finite(archive: Archive, name: str) -> np.ndarray:
    array = archive.read(name)
    if not np.isfinite(array).all():
        raise CCAError(f"{archive.path}: '{name}' is NaN or infinite in places: make the file again")
    return array


def _read_labels(archive: Archive, count: int) -> np.ndarray | None:
    """Class labels (N,): our ``labels`` or guided-diffusion's ``arr_1``."""
    for name in ("labels", "arr_1"):
        if name in archive:
            shape, dtype = archive.header(name)
            if shape == (count,) and dtype.kind in "iu":
                return archive.read(name)
    return None


def _read_statistics(archive: Archive) -> dict[str, Statistics]:
    """Stored statistics, float32 or float64."""
    stored = {}
    count = archive.integer("count") if "count" in archive else None
    for name, suffix in (("pool", ""), ("spatial", "_s")):
        mu, sigma = f"mu{suffix}", f"sigma{suffix}"
        if mu not in archive and sigma not in archive:
            continue
        (mean_shape, mean_type), (shape, dtype) = archive.header(mu), archive.header(sigma)
        fits = len(mean_shape) == 1 and shape == mean_shape * 2 and mean_type.kind == dtype.kind == "f"
        if not fits or not 0 < mean_shape[0] <= LARGEST_DIMENSION:
            raise CCAError(f"{archive.path}: '{mu}' {mean_shape} and '{sigma}' {shape} are not statistics")
        mean, covariance = (_finite(archive, part).astype(np.float64) for part in (mu, sigma))
        asymmetry, variances = np.abs(covariance - covariance.T).max(), covariance.diagonal()
        if variances.min() < 0 or asymmetry > 1e-3 * variances.max():
            raise CCAError(
                f"{archive.path}: '{sigma}' is no covariance: not symmetric, or below 0 on its diagonal"
            )
        stored[name] = Statistics(mean, covariance, count)
    return stored
