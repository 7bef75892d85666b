"""The stage: rows of a tiny benchmark against the evaluator itself, and the table made of them."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from cca.data import images as image_data
from cca.errors import CCAError
from cca.evaluate import evaluator, extractors, reference
from cca.evaluate.classifier import Classifier, ClassifierArchitecture, fit_scales
from cca.evaluate.protocol import METRICS, EvaluationSettings
from cca.files import read_json
from cca.guidance import Guidance
from cca.pitfalls import measure, table
from cca.pitfalls.measure import Bench
from cca.pitfalls.mistakes import MISTAKES, Case
from cca.pitfalls.plan import Draw, PitfallsSettings, TierPitfalls
from cca.rng import generator, seed_torch
from cca.stages import sampling
from cca.stages.sampling import SamplingSettings

SIZES = ClassifierArchitecture(widths=[6, 8], pool_size=2, features=5, spatial_stage=0, spatial_channels=3)
EVALUATION = EvaluationSettings(extractor="cca-classifier", is_split_size=12)
DRAWS = [("right", "right", 0, 1.0), ("noise", "seed 1", 1, 1.0), ("sampling", "s + 1", 0, 2.0)]


@pytest.fixture(scope="module")
def results(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples, a classifier, sure of what it never learned, a reference, and the stage's output."""
    folder = tmp_path_factory.mktemp("results")
    seed_torch("pitfalls")
    classifier = Classifier(SIZES, image_size=8, channels=1, num_classes=3).eval()
    with torch.no_grad():
        classifier.classify.weight *= 1000
    fit_scales(classifier, generator("pitfalls").integers(256, size=(50, 8, 8, 1), dtype=np.uint8))
    classifier.save(folder / "classifier.safetensors")
    weights = {"weights": folder / "classifier.safetensors"}
    reference.run(EVALUATION, images=world.images, out=folder / "reference.npz", **weights)
    for _, name, seed, scale in DRAWS:
        settings = SamplingSettings(guidance=Guidance(scale=scale), num_samples=120, batch_size=60)
        for shard in range(2):
            out, place = folder / name / f"shard_{shard}.npz", {"shard": shard, "shards": 2}
            files = {"model": world.model, "tokenizer": world.tokenizer}
            sampling.run(settings, **files, out=out, seed=seed, **place)
    draws = [Draw(group=group, name=name, what="", folder=Path(name)) for group, name, *_ in DRAWS]
    measure.run(
        PitfallsSettings(benchmark="made-up", evaluation=EVALUATION, draws=draws),
        results=folder,
        images=world.images,
        reference=folder / "reference.npz",
        out=folder / "pitfalls.json",
        **weights,
    )
    return folder


@pytest.fixture
def rows(results: Path) -> dict[str, dict]:
    return {row["name"]: row for row in read_json(results / "pitfalls.json")}


@pytest.fixture
def bench(results: Path) -> Bench:
    return Bench(EVALUATION, results / "reference.npz", results / "classifier.safetensors")


def test_there_is_a_row_for_everything(rows: dict[str, dict]) -> None:
    assert list(rows) == [*(name for _, name, *_ in DRAWS), *(mistake.name for mistake in MISTAKES)]


@pytest.mark.parametrize("name", [name for _, name, *_ in DRAWS])
def test_what_is_evaluated_rightly_has_the_evaluators_numbers(
    results: Path, rows: dict[str, dict], name: str
) -> None:
    weights = results / "classifier.safetensors"
    expected = evaluator.evaluate(results / "reference.npz", results / name, EVALUATION, weights=weights)
    for key in (*METRICS, "num_samples", "num_reference"):
        assert rows[name][key] == pytest.approx(expected[key], rel=1e-6)


def test_unchanged_input_gives_the_right_row_exactly(
    world, results: Path, rows: dict[str, dict], bench: Bench
) -> None:
    case = bench.case(results / "right", image_data.load(world.images))
    again = bench.measure(replace(case, images=case.images.copy()))
    assert again == {key: rows["right"][key] for key in again}


def test_each_mistake_moves_what_it_must_and_nothing_that_it_cannot(rows: dict[str, dict]) -> None:
    def moved(name: str) -> set[str]:
        return {m for m in METRICS if rows[name][m] != pytest.approx(rows["right"][m], rel=1e-4)}

    assert moved("sorted by class") == {"inception_score"}
    assert moved("sFID, channels first") == moved("sFID, next layer") == {"sfid"}
    for name in ("a tenth of the reference", "held-out reference", "as few training images"):
        assert {"fid", "sfid"} <= moved(name) and "inception_score" not in moved(name)
    assert rows["4 copies of each"]["recall"] == 0 < rows["right"]["recall"]  # no radius is above 0
    assert rows["a tenth of the samples"]["num_samples"] == 12
    assert rows["held-out reference"]["num_reference"] == 10
    assert {"fid", "sfid"} <= moved("[-1, 1] as [0, 1]")


def test_another_layers_samples_are_compared_with_that_layers_reference(
    world, results: Path, rows: dict[str, dict], bench: Bench
) -> None:
    data = image_data.load(world.images)
    images = np.broadcast_to(data.train_images, (*data.train_images.shape[:3], 3))
    case = replace(bench.case(results / "right", data), images=images, layer="later_spatial")
    assert bench.measure(case)["sfid"] == pytest.approx(0, abs=1e-6)
    assert rows["sFID, next layer"]["sfid"] > 1e-3


def test_the_csv_says_what_the_json_says(results: Path, rows: dict[str, dict]) -> None:
    frame = pd.read_csv(results / "pitfalls.csv").set_index("name")
    assert list(frame.index) == list(rows) and set(frame["benchmark"]) == {"made-up"}
    for name, row in rows.items():
        for metric in METRICS:
            assert frame[metric][name] == pytest.approx(row[metric], rel=1e-5)
            change = row[metric] - (rows["right"][metric] + rows["seed 1"][metric]) / 2
            assert frame[f"{metric}_change"][name] == pytest.approx(change, rel=1e-5, abs=1e-12)
    assert frame["fid_moved"].isna().tolist() == [name in ("right", "seed 1") for name in rows]
    page = (results / "pitfalls.md").read_text()
    assert all(f"| {name} " in page for name in rows)
    half = 12.7062 * 3**0.5 * abs(rows["right"]["fid"] - rows["seed 1"]["fid"]) / 2  # t(1) at 0.975
    assert f"mean of these 2, FID ± {half:.2g}, IS ± " in page.replace("\n", " ")
    assert "<table" in (results / "pitfalls.html").read_text()


def framed(right: list[float], others: list[float]) -> pd.DataFrame:
    groups = ["right", *["noise"] * (len(right) - 1), *["x"] * len(others)]
    values = [dict.fromkeys(METRICS, value) for value in (*right, *others)]
    return table.framed([{"group": g, "name": g, **v} for g, v in zip(groups, values, strict=True)])


def test_a_move_is_outside_of_the_prediction_interval_of_a_new_seed() -> None:
    # mean 10, s = 1, t(2) at 0.975 = 4.3027: 4.3027 sqrt(4 / 3) = 4.9683
    frame = framed([9, 10, 11], [14.96, 14.98, 5.04, 5.02, 10])
    assert frame["fid"][:3].std() == pytest.approx(1)
    assert frame["fid_moved"][3:].tolist() == [0, 1, 0, -1, 0] and frame["fid_moved"][:3].isna().all()
    assert frame["recall_change"].tolist()[3:] == pytest.approx([4.96, 4.98, -4.96, -4.98, 0])


def test_a_reference_of_another_extractor_is_refused(world, results: Path, tmp_path: Path) -> None:
    other = Classifier(SIZES, image_size=8, channels=1, num_classes=3).eval()
    other.save(tmp_path / "other.safetensors")
    bench = Bench(EVALUATION, results / "reference.npz", tmp_path / "other.safetensors")
    with pytest.raises(CCAError, match="make both with the same extractor and weights"):
        bench.case(results / "right", image_data.load(world.images))


def test_an_extractor_without_spatial_features_is_one_line(world, results: Path) -> None:
    settings = EVALUATION.model_copy(update={"extractor": "clip-rn50"})
    loaded = extractors.Loaded(torch.nn.Identity(), ("pool",), "clip-rn50", None, torch.device("cpu"))
    bench = Bench(settings, results / "reference.npz", None)
    images = image_data.load(world.images)
    case = Case(images.train_images, images.train_labels, images, k=3)
    with (
        mock.patch.object(extractors, "load", return_value=loaded),
        pytest.raises(CCAError, match="clip-rn50 has no feature 'spatial', which pitfalls of sFID need"),
    ):
        bench.measure(case)


def test_scales_off_by_one_and_samples_drawn_otherwise_are_planned() -> None:
    changes = {"top-k_9": {"guidance": {"top_k": 9, "top_p": 0.5}}, "random_labels": {"labels": "random"}}
    plan = TierPitfalls(model="m", scale=0.5, seeds=[3, 4], sampling=changes)
    draws = [(draw.group, draw.name, draw.what, str(draw.folder)) for draw in plan.draws(shards=2)]
    assert draws == [
        ("right", "as it should be", "nothing", "m/base/seed=3/s=0.5/samples/2"),
        ("noise", "seed 4", "sampled with another seed", "m/base/seed=4/s=0.5/samples/2"),
        ("sampling", "s + 1", "sampled with s = 1.5 for 0.5", "m/base/seed=3/s=1.5/samples/2"),
        (
            "sampling",
            "top-k 9",
            "sampled with guidance.top_k = 9, guidance.top_p = 0.5",
            "m/base/seed=3/s=0.5/top-k_9/samples/2",
        ),
        (
            "sampling",
            "random labels",
            "sampled with labels = random",
            "m/base/seed=3/s=0.5/random_labels/samples/2",
        ),
    ]
    assert [e.scale for e in TierPitfalls(model="m", scale=1, seeds=[0, 1]).experiments()] == [1, 1, 0, 2]
