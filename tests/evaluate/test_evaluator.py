import json
from pathlib import Path

import numpy as np
import pytest

from cca.errors import CCAError
from cca.evaluate import evaluator, extractors
from cca.evaluate.classifier import Classifier, ClassifierArchitecture, fit_scales, load_classifier
from cca.evaluate.evaluator import EvaluationSettings, evaluate
from cca.evaluate.samples import Features, write_features
from cca.files import sha256
from cca.rng import seed_torch


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two sets of images that differ a little."""
    rng = np.random.default_rng(0)
    reference = rng.integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
    samples = (rng.integers(256, size=(30, 8, 8, 3)) * 0.8).astype(np.uint8)
    np.savez(tmp_path / "reference.npz", arr_0=reference)
    np.savez(tmp_path / "samples.npz", arr_0=samples)
    return tmp_path / "reference.npz", tmp_path / "samples.npz"


def made_up(seed: int, count: int, shift: float) -> Features:
    rng = np.random.default_rng(seed)
    pool, spatial = rng.normal(size=(count, 4)) + shift, rng.normal(size=(count, 5)) * (1 + shift)
    return Features(pool, spatial, 3 * rng.normal(size=(count, 3)))


def slow_metrics(a: Features, b: Features, k: int, split: int) -> dict[str, float]:
    """All five numbers from their definitions."""

    def fid(x, y):
        means = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
        s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
        return means + np.trace(s) + np.trace(t) - 2 * np.sqrt(np.linalg.eigvals(s @ t).real.clip(0)).sum()

    def score(logits):
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return np.exp(np.mean((p * (np.log(p) - np.log(p.mean(axis=0)))).sum(axis=1)))

    def covered(points, centres):
        gaps = ((centres[:, None] - centres) ** 2).sum(axis=2)
        radii = np.sort(gaps, axis=1)[:, k]
        return np.mean([(((centres - point) ** 2).sum(axis=1) <= radii).any() for point in points])

    scores = [score(b.logits[start : start + split]) for start in range(0, len(b.logits), split)]
    return {
        "fid": fid(a.pool, b.pool),
        "sfid": fid(a.spatial, b.spatial),
        "inception_score": np.mean(scores),
        "precision": covered(b.pool, a.pool),
        "recall": covered(a.pool, b.pool),
    }


@pytest.mark.parametrize("k", [3, 5])
def test_five_numbers_against_their_definitions(tmp_path, k):
    a, b = made_up(0, 60, 0.0), made_up(1, 45, 0.4)
    write_features(tmp_path / "a.npz", a, "x y")
    write_features(tmp_path / "b.npz", b, "x y")
    result = evaluate(tmp_path / "a.npz", tmp_path / "b.npz", EvaluationSettings(k=k, is_split_size=20))
    expected = slow_metrics(a, b, k, 20)
    assert 0 < expected["recall"] != expected["precision"] < 1
    assert {name: result[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert (result["extractor"], result["extractor_sha256"]) == ("x", "y")
    assert (result["num_reference"], result["num_samples"]) == (60, 45)


def test_the_record(pair, classifier_file, settings, tmp_path):
    measured = evaluator.run(
        settings, reference=pair[0], samples=pair[1], weights=classifier_file, out=tmp_path / "metrics.json"
    )
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert measured == {name: record[name] for name in evaluator.METRICS}
    assert all(np.isfinite(value) for value in measured.values())
    assert (record["num_reference"], record["num_samples"]) == (40, 30)
    assert record["extractor_sha256"] == sha256(classifier_file)
    assert record["samples_sha256"] == sha256(pair[1])
    assert record["settings"]["k"] == 3
    assert {"cca", "torch", "torch-fidelity"} <= set(record["versions"])


def test_a_set_against_itself(pair, classifier_file, settings):
    result = evaluate(pair[0], pair[0], settings, weights=classifier_file)
    assert result["fid"] == pytest.approx(0, abs=1e-5)
    assert result["precision"] == result["recall"] == 1


def test_kept_features_stand_in_for_images_and_need_no_weights(pair, classifier_file, settings, tmp_path):
    whole = evaluate(*pair, settings, weights=classifier_file, keep_features=tmp_path / "samples_f.npz")
    evaluate(pair[0], pair[0], settings, weights=classifier_file, keep_features=tmp_path / "reference_f.npz")
    again = evaluate(tmp_path / "reference_f.npz", tmp_path / "samples_f.npz", settings)
    for name in (*evaluator.METRICS, "extractor", "extractor_sha256", "num_samples"):
        assert again[name] == whole[name]


def test_the_references_features_are_kept_by_content_weights_code_and_environment(
    pair, classifier_file, settings, tmp_path, monkeypatch
):
    counts = []
    stream = extractors.stream

    def counted(images, *arguments):
        counts.append(images.shape[0])
        return stream(images, *arguments)

    monkeypatch.setattr(extractors, "stream", counted)
    cache = tmp_path / "cache"
    results = [evaluate(*pair, settings, weights=classifier_file, cache=cache) for _ in range(2)]
    assert results[0] == results[1]
    assert counts == [40, 30, 30]
    other = load_classifier(classifier_file)
    other.project.weight.data *= -1
    other.save(tmp_path / "other.safetensors")
    assert evaluate(*pair, settings, weights=tmp_path / "other.safetensors", cache=cache) != results[0]
    assert counts == [40, 30, 30, 40, 30]
    for kept in cache.iterdir():
        kept.write_bytes(b"damaged")
    assert evaluate(*pair, settings, weights=classifier_file, cache=cache) == results[0]
    counts.clear()
    for name, other in (("digest", lambda *modules: "other"), ("environment", lambda: {"threads": 2})):
        with monkeypatch.context() as patch:
            patch.setattr(evaluator, name, other)
            evaluate(*pair, settings, weights=classifier_file, cache=cache)
    assert counts == [40, 30] * 2


def test_stored_statistics_win_over_images(pair, classifier_file, settings, tmp_path):
    with np.load(pair[0]) as data:
        images = data["arr_0"]
    plain = evaluate(*pair, settings, weights=classifier_file)
    stored = {"mu": np.full(5, 9, np.float32), "sigma": np.eye(5, dtype=np.float32)}
    np.savez(tmp_path / "stored.npz", arr_0=images, **stored)
    result = evaluate(tmp_path / "stored.npz", pair[1], settings, weights=classifier_file)
    assert result["fid"] > plain["fid"] + 10
    for name in ("sfid", "precision", "recall"):
        assert result[name] == plain[name]
    np.savez(tmp_path / "alone.npz", **stored)
    alone = evaluate(tmp_path / "alone.npz", pair[1], settings, weights=classifier_file)
    assert alone["fid"] == result["fid"]
    assert alone["precision"] is None
    assert alone["sfid"] is None
    flipped = evaluate(pair[1], tmp_path / "stored.npz", settings, weights=classifier_file)
    assert flipped["fid"] == pytest.approx(plain["fid"], rel=1e-9)  # the samples' own are ignored


def test_statistics_of_another_extractor(pair, classifier_file, settings, tmp_path):
    np.savez(tmp_path / "r.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(CCAError, match="2048 and of 5 features"):
        evaluate(tmp_path / "r.npz", pair[1], settings, weights=classifier_file)
    write_features(tmp_path / "f.npz", made_up(0, 30, 0), "cca-classifier 0123")
    with pytest.raises(CCAError, match="same extractor and weights"):
        evaluate(tmp_path / "f.npz", pair[1], settings, weights=classifier_file)


def test_sides_that_cannot_be_compared(pair, classifier_file, settings, tmp_path):
    small = tmp_path / "small.npz"
    np.savez(small, arr_0=np.zeros((9, 4, 4, 3), np.uint8))
    with pytest.raises(CCAError, match=r"small\.npz: images of 4 x 4 px, the reference has 8 x 8"):
        evaluate(pair[0], small, settings, weights=classifier_file)
    np.savez(small, arr_0=np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(CCAError, match="3 images; precision and recall with k = 3 need more"):
        evaluate(pair[0], small, settings, weights=classifier_file)
    np.savez(small, mu=np.zeros(5), sigma=np.eye(5))
    with pytest.raises(CCAError, match="statistics alone are no samples"):
        evaluate(pair[0], small, settings, weights=classifier_file)


def test_kept_features_that_are_not_finite(tmp_path):
    a, b = made_up(0, 60, 0.0), made_up(1, 45, 0.4)
    b.pool[7, 1] = np.inf
    write_features(tmp_path / "a.npz", a, "x y")
    write_features(tmp_path / "b.npz", b, "x y")
    with pytest.raises(CCAError, match="NaN or infinite"):
        evaluate(tmp_path / "a.npz", tmp_path / "b.npz", EvaluationSettings())


def warnings_of(tmp_path: Path, samples: Features, labels=None, **settings: int) -> str:
    write_features(tmp_path / "a.npz", made_up(0, 60, 0.0), "x y")
    write_features(tmp_path / "b.npz", samples, "x y", labels)
    return " ".join(
        evaluate(tmp_path / "a.npz", tmp_path / "b.npz", EvaluationSettings(**settings))["warnings"]
    )


def test_fewer_samples_than_features_warn_with_both_numbers(tmp_path):
    assert warnings_of(tmp_path, made_up(1, 45, 0.0)) == ""
    assert "samples: N = 4 is not more than D = 4" in warnings_of(tmp_path, made_up(1, 4, 0.0))


def test_class_sorted_samples_warn(tmp_path):
    samples, classes = made_up(1, 60, 0.0), np.repeat(np.arange(3), 20)
    shuffled = np.random.default_rng(0).permutation(classes)
    assert "sorted by class" in warnings_of(tmp_path, samples, classes, is_split_size=20)
    assert warnings_of(tmp_path, samples, shuffled, is_split_size=20) == ""
    assert warnings_of(tmp_path, samples, classes) == ""  # one split: order does not matter


def test_class_sorted_samples_are_noticed_without_labels(tmp_path):
    samples = made_up(1, 60, 0.0)
    samples.logits[:] = 5 * np.eye(3)[np.repeat(np.arange(3), 20)]
    assert "sorted by class" in warnings_of(tmp_path, samples, is_split_size=20)


def test_swapped_channels_warn_and_change_the_result(pair, settings, tmp_path):
    architecture = ClassifierArchitecture(widths=[6, 8], pool_size=2, features=5, spatial_channels=3)
    colour = tmp_path / "colour.safetensors"
    with np.load(pair[0]) as data:
        images = (data["arr_0"] * np.array([1, 0.8, 0.5])).astype(np.uint8)
    seed_torch("colour")
    model = Classifier(architecture, image_size=8, channels=3, num_classes=4).eval()
    fit_scales(model, images)
    model.save(colour)
    for name, array in (("rgb", images), ("bgr", images[..., ::-1])):
        np.savez(tmp_path / f"{name}.npz", arr_0=array)
    right, wrong = (
        evaluate(tmp_path / "rgb.npz", tmp_path / f"{name}.npz", settings, weights=colour)
        for name in ("rgb", "bgr")
    )
    assert right["warnings"] == []
    assert "look like BGR" in wrong["warnings"][0]
    assert wrong["fid"] > right["fid"] + 0.01
