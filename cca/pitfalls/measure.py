"""Stage ``pitfalls``: the five metrics of the right evaluation, of other seeds, and of every mistake."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cca.data import images as image_data
from cca.data.images import ImageData
from cca.device import pick
from cca.errors import CCAError
from cca.evaluate import extractors
from cca.evaluate.evaluator import LazyExtractor, check_comparable, common_identity, compute, gaussians
from cca.evaluate.extractors import Extractor, Loaded
from cca.evaluate.images import Images
from cca.evaluate.protocol import SPATIAL, EvaluationSettings
from cca.evaluate.samples import Features, read_side
from cca.evaluate.statistics import Statistics
from cca.files import write_json
from cca.pitfalls import table
from cca.pitfalls.mistakes import MISTAKES, Case, channels_first
from cca.pitfalls.plan import PitfallsSettings


class Bench:
    """One reference and one protocol, by which any `Case` is evaluated.

    Raises:
        CCAError: in every method, one line: files that cannot be read or compared, or an extractor that
            lacks the spatial features.
    """

    def __init__(self, settings: EvaluationSettings, reference: Path, weights: Path | None):
        self._settings, self._weights, self._device = settings, weights, pick()
        self._reference = read_side(reference)
        self._loaded = cache(self._load)

    def case(self, folder: Path, data: ImageData) -> Case:
        """The samples of a folder of our shards, as they are."""
        side = read_side(folder)
        check_comparable(self._reference, side, self._settings.k)
        common_identity(self._reference, side, LazyExtractor(self._settings, self._weights, self._device))
        assert side.images is not None and side.labels is not None  # our shards have both
        images = np.concatenate(list(side.images.batches(self._settings.batch_size)))
        return Case(images, side.labels, data, self._settings.k)

    def measure(self, case: Case) -> dict[str, float | None]:
        """The five metrics, and of how many samples and reference images precision and recall are."""
        samples = self._extract(case.images, case.layer)
        if case.channels_first:
            channels = int(self._loaded(case.layer).network.spatial_channels)  # type: ignore[arg-type]
            assert samples.spatial is not None
            samples = replace(samples, spatial=channels_first(samples.spatial, channels))
        if case.reference is None:
            reference = self._reference.features
            stored = gaussians(self._reference, reference)
        else:
            reference = self._extract(case.reference, case.layer)
            stored = gaussians(replace(self._reference, statistics={}), reference)
        if case.layer != SPATIAL:
            spatial = self._extract(case.data.train_images, case.layer).spatial
            assert spatial is not None  # `_load` has seen to it
            stored |= {"spatial": Statistics.of(spatial)}
        own = gaussians(replace(self._reference, statistics={}), samples)
        values = compute(stored, own, reference, samples, self._settings, self._device)
        return values | {
            "num_samples": len(samples.pool),
            "num_reference": 0 if reference is None else len(reference.pool),
        }

    def _extract(self, images: Images | np.ndarray, layer: str) -> Features:
        return extractors.extract(images, self._loaded(layer), self._settings.batch_size)

    def _load(self, layer: str) -> Loaded:
        loaded = extractors.load(Extractor(self._settings.extractor, self._weights, layer), self._device)
        if "spatial" not in loaded.layers:
            raise CCAError(f"{loaded.name} has no feature '{layer}', which pitfalls of sFID need")
        return loaded


def run(
    settings: PitfallsSettings,
    *,
    results: Path,
    images: Path,
    reference: Path,
    out: Path,
    weights: Path | None = None,
) -> dict:
    """Measure everything; write ``out``, a JSON list of rows, and its table as `table.write` does."""
    data = image_data.load(images)
    bench = Bench(settings.evaluation, reference, weights)
    rows = []
    for draw in tqdm(settings.draws, desc="samples"):
        values = bench.measure(bench.case(results / draw.folder, data))
        rows.append({"group": draw.group, "name": draw.name, "what": draw.what, **values})
    right = bench.case(results / settings.draws[0].folder, data)
    for mistake in tqdm(MISTAKES, desc="mistakes"):
        values = bench.measure(mistake.spoil(right))
        rows.append({"group": mistake.group, "name": mistake.name, "what": mistake.what, **values})
    write_json(out, rows)
    table.write(out, rows, settings.benchmark)
    return {"rows": len(rows)}
