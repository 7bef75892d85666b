"""Making a reference file: the whole set's statistics and a subset of its images, as ADM's."""

from pathlib import Path

import numpy as np
import torch

from cca.data.images import load
from cca.device import pick
from cca.errors import CCAError
from cca.evaluate.extractors import Extractor, stream
from cca.evaluate.extractors import load as load_extractor
from cca.evaluate.images import ArrayImages, Images
from cca.evaluate.protocol import EvaluationSettings
from cca.evaluate.samples import read_side
from cca.evaluate.statistics import Accumulator
from cca.files import write_npz
from cca.files.archives import Archive
from cca.rng import generator


def run(
    settings: EvaluationSettings,
    *,
    images: Path,
    out: Path,
    weights: Path | None = None,
    allow_jpeg: bool = False,
) -> dict:
    """Stage ``reference``: `make_reference` of a folder, an ADM ``.npz``, or our data's training images."""
    if images.is_file() and "train_labels" in Archive(images):
        return make_reference(load(images).train_images, out, settings, weights=weights)
    source = read_side(images, allow_jpeg).images
    if source is None:
        raise CCAError(f"{images}: features or statistics; a reference is made of images")
    return make_reference(source, out, settings, weights=weights)


def make_reference(
    images: Images | np.ndarray,
    out: Path,
    settings: EvaluationSettings,
    *,
    weights: Path | None = None,
    device: torch.device | str | None = None,
) -> dict:
    """Write an ADM reference file, in one pass over the images.

    It holds ``arr_0``, a seeded subset of ``reference_images`` images (uint8 N x H x W x 3, in file
    order; grey is repeated); ``mu``, ``sigma`` and, where the extractor has spatial features, ``mu_s``,
    ``sigma_s`` of ALL images (float64); and for our own evaluator ``count``, ``extractor`` (name and
    checksum of weights), and ``pool`` and ``colour``, the features of ``arr_0``.

    Returns:
        ``images``, the number of all images, and ``kept``, the number in ``arr_0``.

    Raises:
        CCAError: unusable images, fewer than two of them, or an extractor that cannot be built.
    """
    source = ArrayImages(images) if isinstance(images, np.ndarray) else images
    loaded = load_extractor(Extractor(settings.extractor, weights), pick() if device is None else device)
    total = source.shape[0]
    subset = generator("reference", settings.reference_seed).permutation(total)[: settings.reference_images]
    chosen = np.zeros(total, dtype=bool)
    chosen[subset] = True
    accumulators: dict[str, Accumulator] = {}
    kept_images, kept_pool, colours, start = [], [], [], 0
    for batch, features in stream(source, loaded, settings.batch_size):
        mask = chosen[start : start + len(batch)]
        start += len(batch)
        kept_images.append(np.broadcast_to(batch[mask], (*batch[mask].shape[:3], 3)))
        kept_pool.append(features.pool[mask])
        assert features.colour is not None  # `stream` always has it
        colours.append(features.colour * len(batch))
        for name in ("pool", "spatial"):
            if (values := getattr(features, name)) is not None:
                accumulators.setdefault(name, Accumulator(values.shape[1])).add(values)
    if total < 2:
        raise CCAError(f"a reference needs at least 2 images, got {total}")
    statistics = {name: accumulator.statistics() for name, accumulator in accumulators.items()}
    arrays = {"mu": statistics["pool"].mean, "sigma": statistics["pool"].covariance}
    if "spatial" in statistics:
        arrays |= {"mu_s": statistics["spatial"].mean, "sigma_s": statistics["spatial"].covariance}
    write_npz(
        out,
        arr_0=np.concatenate(kept_images),
        **arrays,
        count=np.array(total),
        extractor=np.array(loaded.identity),
        pool=np.concatenate(kept_pool),
        colour=np.sum(np.stack(colours), axis=0) / total,
    )
    return {"images": total, "kept": len(subset)}
