"""The evaluator: FID, sFID, Inception Score, precision and recall of any samples against a reference."""

import hashlib
import importlib.metadata
import json
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

import cca
from cca.device import pick
from cca.errors import CCAError
from cca.evaluate import extractors
from cca.evaluate.bootstrap import intervals
from cca.evaluate.caveats import few_samples, sorted_by_class, swapped_channels
from cca.evaluate.extractors import Extractor, Loaded
from cca.evaluate.fid import frechet_distance
from cca.evaluate.inception_score import inception_score
from cca.evaluate.precision_recall import precision_recall
from cca.evaluate.protocol import METRICS, EvaluationSettings
from cca.evaluate.samples import Features, Side, read_side, write_features
from cca.evaluate.statistics import Statistics
from cca.files import cache_folder, write_json
from cca.records.codebase import digest
from cca.records.environment import environment


class LazyExtractor:
    """An extractor that is built when it is first needed: kept features need none."""

    def __init__(self, settings: EvaluationSettings, weights: Path | None, device: torch.device):
        self._extractor, self._device = Extractor(settings.extractor, weights), device
        self.name = settings.extractor

    @cached_property
    def loaded(self) -> Loaded:
        """The extractor with its weights."""
        return extractors.load(self._extractor, self._device)


def run(
    settings: EvaluationSettings,
    *,
    reference: Path,
    samples: Path,
    out: Path | None = None,
    weights: Path | None = None,
    cache: Path | None = None,
    keep_features: Path | None = None,
    allow_jpeg: bool = False,
    bootstrap: int | None = None,
) -> dict:
    """Stage ``evaluate``: `evaluate`, printed and, if ``out`` is given, written there as JSON.

    Without ``cache``, extracted features of references are kept in the user's cache.

    Returns:
        The five numbers.
    """
    result = evaluate(
        reference,
        samples,
        settings,
        weights=weights,
        cache=cache or cache_folder("features"),
        keep_features=keep_features,
        allow_jpeg=allow_jpeg,
        bootstrap=bootstrap,
    )
    for warning in result["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(summary(result))
    if out is not None:
        write_json(out, result)
    return {name: result[name] for name in METRICS}


def summary(result: dict) -> str:
    """A small table of an evaluation: the five numbers with intervals, the images of either side."""
    of_all = result["num_reference_statistics"]
    lines = {name: "-" if result[name] is None else f"{result[name]:.4f}" for name in METRICS}
    for name, interval in result["intervals"].items():
        if interval is not None:
            lines[name] += f"  95 % interval {interval['low']:.4f} to {interval['high']:.4f}"
    lines["reference"] = f"{result['num_reference']} images, statistics of {of_all or 'an unknown number'}"
    lines["samples"] = f"{result['num_samples']} images"
    return "\n".join(f"{name:<16} {value}" for name, value in lines.items())


def evaluate(
    reference: Path,
    samples: Path,
    settings: EvaluationSettings,
    *,
    weights: Path | None = None,
    device: torch.device | str | None = None,
    cache: Path | None = None,
    keep_features: Path | None = None,
    allow_jpeg: bool = False,
    bootstrap: int | None = None,
) -> dict:
    """Compare samples with a reference; for what the two may be see `cca.evaluate.samples.read_side`.

    Args:
        weights: file of the extractor's weights; None where it downloads them or none are needed.
        device: None for the GPU if there is one.
        cache: folder where the reference's features are kept, by all that they follow from.
        keep_features: ``.npz`` to write the samples' features to.
        allow_jpeg: accept lossy images.
        bootstrap: number of resamples of the intervals, see `cca.evaluate.bootstrap`; None for no intervals.

    Returns:
        The five metrics (None where the extractor or a reference without images does not allow one),
        ``intervals`` of 95 % by metric, each with ``low`` and ``high`` (empty if not asked for),
        ``num_reference`` images of precision and recall, ``num_reference_statistics`` of FID and sFID
        (None if the file does not say), ``num_samples``, the extractor and its weights' checksum, the
        files' checksums, settings, versions, and ``warnings``: one line each.

    Raises:
        CCAError: bad input of any kind, in one line.
    """
    device = pick() if device is None else torch.device(device)
    extractor = LazyExtractor(settings, weights, device)
    one, other = (read_side(path, allow_jpeg) for path in (reference, samples))
    check_comparable(one, other, settings.k)
    identity = common_identity(one, other, extractor)
    reference_features = side_features(one, extractor, settings.batch_size, cache)
    sample_features = side_features(other, extractor, settings.batch_size)
    assert sample_features is not None  # `check_comparable` has refused statistics alone
    if keep_features is not None:
        write_features(keep_features, sample_features, identity, other.labels)
    statistics = gaussians(one, reference_features)
    sample_statistics = gaussians(replace(other, statistics={}), sample_features)
    known = (statistics, sample_statistics, reference_features, sample_features, settings)
    values = compute(*known, device)
    bounds = {} if bootstrap is None else intervals(values, *known, bootstrap, device)
    name, _, checksum = identity.partition(" ")
    return values | {
        "intervals": bounds,
        "num_reference": 0 if reference_features is None else len(reference_features.pool),
        "num_reference_statistics": statistics["pool"].count,
        "num_samples": len(sample_features.pool),
        "extractor": name,
        "extractor_sha256": checksum or None,
        "reference_sha256": one.sha256,
        "samples_sha256": other.sha256,
        "settings": settings.model_dump(mode="json", exclude={"extractor"}) | {"bootstrap": bootstrap},
        "versions": versions(),
        "warnings": [
            *few_samples(statistics["pool"], "reference"),
            *few_samples(sample_statistics["pool"], "samples"),
            *sorted_by_class(other.labels, sample_features.logits, settings.is_split_size),
            *swapped_channels(reference_features, sample_features),
        ],
    }


def compute(
    reference_statistics: dict[str, Statistics],
    sample_statistics: dict[str, Statistics],
    reference: Features | None,
    samples: Features,
    settings: EvaluationSettings,
    device: torch.device | str = "cpu",
) -> dict[str, float | None]:
    """The five metrics from statistics (by name, ``pool`` and ``spatial``) and features alone."""
    values: dict[str, float | None] = dict.fromkeys(METRICS)
    for metric, name in (("fid", "pool"), ("sfid", "spatial")):
        if name in reference_statistics and name in sample_statistics:
            values[metric] = frechet_distance(reference_statistics[name], sample_statistics[name])
    if samples.logits is not None:
        values["inception_score"] = inception_score(samples.logits, settings.is_split_size)
    if reference is not None:
        values["precision"], values["recall"] = precision_recall(
            reference.pool, samples.pool, settings.k, adm_float16=settings.adm_float16, device=device
        )
    return values


def gaussians(side: Side, features: Features | None) -> dict[str, Statistics]:
    """Statistics of a side, by name: stored ones where there are any, else those of its features."""
    found: dict[str, Statistics] = {}
    for name in ("pool", "spatial"):
        if name in side.statistics:
            found[name] = side.statistics[name]
        elif features is not None and getattr(features, name) is not None:
            found[name] = Statistics.of(getattr(features, name))
    if "pool" not in found:
        raise CCAError(f"{side.path}: statistics of spatial features only; FID needs 'mu' and 'sigma'")
    return found


def side_features(
    side: Side, extractor: LazyExtractor, batch_size: int, cache: Path | None = None
) -> Features | None:
    """The kept, the cached or the newly extracted features of a side; None if it has statistics only."""
    if side.features is not None or side.images is None:
        return side.features
    if cache is None:
        return extractors.extract(side.images, extractor.loaded, batch_size)
    identity = extractor.loaded.identity
    kept = cache / f"{_key(side, extractor.loaded)[:32]}.npz"
    if kept.is_file():
        try:
            return read_side(kept).features
        except CCAError:
            pass  # damaged: made again
    features = extractors.extract(side.images, extractor.loaded, batch_size)
    with suppress(OSError):  # a cache that cannot be written costs time, not the result
        write_features(kept, features, identity)
    return features


def _key(side: Side, extractor: Loaded) -> str:
    """SHA-256 of all that a side's features follow from: images, extractor, weights, code, environment."""
    code = digest(extractors.__name__)
    told = [side.sha256, extractor.identity, str(extractor.device), code, environment()]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def check_comparable(reference: Side, samples: Side, k: int) -> None:
    """Raise a `CCAError` where two sides cannot be compared; nothing is extracted for it."""
    if samples.images is None and samples.features is None:
        raise CCAError(f"{samples.path}: array 'arr_0' is missing: statistics alone are no samples")
    for side in (reference, samples):
        count = len(side.features.pool) if side.features else side.images.shape[0] if side.images else None
        if count is not None and count <= k:
            raise CCAError(
                f"{side.path}: {count} images; precision and recall with k = {k} need more than {k}"
            )
    if reference.images and samples.images and reference.images.shape[1:] != samples.images.shape[1:]:
        (_, height, width, _), (_, wanted_height, wanted_width, _) = (
            samples.images.shape,
            reference.images.shape,
        )
        raise CCAError(
            f"{samples.path}: images of {width} x {height} px, the reference has {wanted_width} x "
            f"{wanted_height}; how they are resized moves every metric, so do it yourself and say how"
        )


def common_identity(reference: Side, samples: Side, extractor: LazyExtractor) -> str:
    """The extractor, with its weights' checksum, that both sides' numbers are of.

    Raises:
        CCAError: kept features or statistics of one extractor beside those of another.
    """
    needed = any(side.features is None and side.images is not None for side in (reference, samples))
    claims = {str(side.path): side.extractor for side in (reference, samples) if side.extractor}
    for where, identity in claims.items() if needed else ():
        if identity.partition(" ")[0] != extractor.name:  # said before an extractor is downloaded for nothing
            raise CCAError(
                f"{where} has features of '{identity}', this evaluation's extractor is '{extractor.name}': "
                f"choose it in the settings, as {{extractor: {identity.partition(' ')[0]}}}, with its weights"
            )
    if needed:
        claims["the extractor of this evaluation"] = extractor.loaded.identity
    (first, identity), *others = claims.items() or [("", "unknown")]
    for where, other in others:
        if other != identity:
            raise CCAError(
                f"{first} has features of '{identity}' and {where} of '{other}': make both with the same "
                "extractor and weights"
            )
    return identity


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("numpy", "pillow", "torch", "torch-fidelity")
    return {"cca": cca.__version__} | {name: importlib.metadata.version(name) for name in packages}
