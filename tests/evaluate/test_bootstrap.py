"""Intervals: contributions against their definitions, coverage on made-up Gaussians."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from cca.evaluate import bootstrap
from cca.evaluate.bootstrap import frechet_contributions, intervals, recall_contributions, score_contributions
from cca.evaluate.evaluator import METRICS, compute, evaluate
from cca.evaluate.fid import frechet_distance
from cca.evaluate.inception_score import inception_score
from cca.evaluate.precision_recall import precision_recall
from cca.evaluate.protocol import EvaluationSettings
from cca.evaluate.samples import Features, write_features
from cca.evaluate.statistics import Statistics
from cca.rng import generator


def weighted(features: np.ndarray, weights: np.ndarray) -> Statistics:
    """Mean and covariance of weighted samples; weights of 1 give `Statistics.of`."""
    share, count = weights / weights.sum(), len(features)
    mean = share @ features
    centred = features - mean
    return Statistics(mean, (centred * share[:, None]).T @ centred * count / (count - 1), count)


@pytest.mark.parametrize(("count", "dimension"), [(40, 5), (4, 6)])
def test_frechet_contributions_are_the_derivative_by_a_weight(count, dimension):
    rng = generator("frechet")
    reference = Statistics.of(rng.normal(size=(30, dimension)))
    features = 0.3 + rng.normal(size=(count, dimension)) @ rng.normal(size=(dimension, dimension))
    contributions = frechet_contributions(reference, Statistics.of(features), features, block_size=7)
    step = 1e-5 * np.eye(count)
    for index in range(count):
        more, less = (
            frechet_distance(reference, weighted(features, 1 + sign * step[index])) for sign in (1, -1)
        )
        assert contributions[index] == pytest.approx((more - less) / 2e-5 * count, rel=1e-3, abs=1e-5)


def test_score_contributions_are_the_derivative_by_a_weight():
    logits = 2 * generator("score").normal(size=(25, 4))

    def score(weights: np.ndarray) -> float:
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        scores = []
        for part in (slice(0, 10), slice(10, 20), slice(20, 25)):
            share = weights[part] / weights[part].sum()
            divergence = (p[part] * np.log(p[part] / (share @ p[part]))).sum(axis=1)
            scores.append(np.exp(share @ divergence))
        return np.mean(scores)

    assert score(np.ones(25)) == pytest.approx(inception_score(logits, 10))
    derivative = [(score(1 + step) - score(1 - step)) / 2e-5 for step in 1e-5 * np.eye(25)]
    assert score_contributions(logits, 10) == pytest.approx(np.multiply(derivative, 25), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("block_size", [7, 100])
def test_recall_contributions_are_those_of_leaving_out_a_sample(k, block_size):
    rng = generator("recall")
    reference, samples = rng.normal(size=(60, 2)), 0.6 * rng.normal(size=(25, 2))
    samples[3] = samples[4]
    kept = [precision_recall(reference, np.delete(samples, index, axis=0), k)[1] for index in range(25)]
    assert len(set(kept)) > 3
    expected = 24 * (np.mean(kept) - kept)
    assert recall_contributions(reference, samples, k, block_size=block_size) == pytest.approx(expected)


def drawn(rng: np.random.Generator, count: int) -> Features:
    """Samples of a model that is not the reference: shifted, too narrow; scores of 6 classes."""
    return Features(
        0.3 + 0.8 * rng.normal(size=(count, 6)),
        1.1 * rng.normal(size=(count, 3)),
        2 * rng.normal(size=(count, 6)),
    )


def measured(reference: Features, samples: Features, resamples: int) -> tuple[dict, dict]:
    """The five metrics and their intervals."""
    statistics = [
        {"pool": Statistics.of(side.pool), "spatial": Statistics.of(side.spatial)}
        for side in (reference, samples)
    ]
    known = (*statistics, reference, samples, EvaluationSettings(is_split_size=60))
    values = compute(*known)
    return values, intervals(values, *known, resamples)


def test_intervals_hold_the_mean_over_draws_of_samples():
    """At N = 100, over 200 draws; recall's interval is known to be wide.

    A frequency of 200 has a standard deviation of 0.015 at 0.95. Widths are held against the spread of the
    draws; largest difference seen: 7 %, and 39 % of recall; with other seeds up to 18 %.
    """
    rng = generator("coverage")
    reference = Features(rng.normal(size=(150, 6)), rng.normal(size=(150, 3)))
    trials = [measured(reference, drawn(rng, 100), 200) for _ in range(200)]
    for name in METRICS:
        centre = np.mean([values[name] for values, _ in trials])
        held = np.mean([bounds[name]["low"] <= centre <= bounds[name]["high"] for _, bounds in trials])
        assert held >= 0.91, (name, held)
        if name != "recall":
            assert held <= 0.99, (name, held)
        widths = [bounds[name]["high"] - bounds[name]["low"] for _, bounds in trials]
        spread = np.std([values[name] for values, _ in trials])
        assert 0.85 < np.mean(widths) / (2 * 1.96 * spread) < (2 if name == "recall" else 1.25)
        assert all(bounds[name]["low"] <= values[name] <= bounds[name]["high"] for values, bounds in trials)


def test_a_perfect_model_and_fewer_samples_than_features_err_to_the_wide_side():
    rng = generator("perfect")
    reference = Statistics.of(rng.normal(size=(500, 20)))
    for count in (15, 100):
        values, widths = [], []
        for _ in range(100):
            features = rng.normal(size=(count, 20))
            samples = Statistics.of(features)
            values.append(frechet_distance(reference, samples))
            errors = bootstrap.resampled_means(frechet_contributions(reference, samples, features)[None], 100)
            widths.append(errors.std())
        assert 1 < np.mean(widths) / np.std(values) < 2


@pytest.mark.parametrize(("successes", "count"), [(0, 9), (3, 9), (9, 9), (471, 500)])
def test_the_interval_of_a_proportion_against_scipy(successes, count):
    expected = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    interval = bootstrap.wilson(successes / count, count)
    assert interval == pytest.approx({"low": expected.low, "high": expected.high}, abs=1e-12)


def test_proportions_of_none_and_all_have_a_width():
    rng = generator("edges")
    inside, far = (
        np.concatenate([0.1 * rng.normal(size=(20, 2)), np.eye(2), -np.eye(2)]),
        rng.normal(size=(30, 2)),
    )
    for samples, expected in ((0.01 * inside, 1), (99 + far, 0)):
        a, b = (Features(side, side) for side in (inside, samples))
        values, bounds = measured(a, b, 50)
        assert values["precision"] == expected
        assert bounds["precision"]["high"] - bounds["precision"]["low"] > 0.1
    assert values["recall"] == 0
    assert (bounds["recall"]["low"], bounds["recall"]["high"]) == (0, pytest.approx(0.138, abs=0.001))


def test_intervals_of_kept_features_repeat_and_change_no_metric(tmp_path):
    rng = generator("kept")
    for name, count in (("a", 50), ("b", 40)):
        write_features(tmp_path / f"{name}.npz", drawn(rng, count), "x y")
    sides, settings = (tmp_path / "a.npz", tmp_path / "b.npz"), EvaluationSettings()
    once, again = (evaluate(*sides, settings, bootstrap=60) for _ in range(2))
    assert once == again
    assert once["settings"]["bootstrap"] == 60
    assert set(once["intervals"]) == set(METRICS)
    plain = evaluate(*sides, settings)
    assert {name: once[name] for name in METRICS} == {name: plain[name] for name in METRICS}
    assert plain["intervals"] == {}
    assert evaluate(*sides, settings, bootstrap=61)["intervals"] != once["intervals"]
    json.dumps(once, allow_nan=False)


def test_what_has_no_value_has_no_interval(tmp_path):
    rng = generator("few")
    write_features(tmp_path / "b.npz", Features(rng.normal(size=(4, 6))), "x y")
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(6), sigma=np.eye(6))
    bounds = evaluate(tmp_path / "statistics.npz", tmp_path / "b.npz", EvaluationSettings(), bootstrap=50)[
        "intervals"
    ]
    assert bounds.pop("fid")["low"] >= 0
    assert set(bounds.values()) == {None}
    write_features(tmp_path / "a.npz", Features(rng.normal(size=(30, 6))), "x y")
    bounds = evaluate(tmp_path / "a.npz", tmp_path / "b.npz", EvaluationSettings(), bootstrap=50)["intervals"]
    assert bounds["precision"]["high"] > bounds["precision"]["low"]
    assert bounds["recall"] is None  # without one of 4 samples there are no 3 neighbours
