"""Rules and verdicts, on made-up numbers in all outcomes."""

import numpy as np
import pytest
from scipy import stats

from cca.estimates import Estimate, over_seeds
from cca.report.claims import definitions
from cca.report.claims.quantities import at_best
from cca.report.claims.rules import Bounds, Rule
from cca.report.claims.verdicts import Verdict, combine, judge

HOLDS, FAILS, UNDECIDED = Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE


def found(rule: dict, *values: object) -> Verdict:
    """The verdict of a rule on lists by seed, of numbers or of lists by point."""
    arrays = [np.array(value, dtype=float) for value in values]
    built: Rule = definitions.build(rule)
    effects = built.effect([array[:, None] if array.ndim == 1 else array for array in arrays])
    return combine([judge(over_seeds(effect), built.bounds) for effect in effects.T])


GAP = {"fraction_of_gap": {"start": "base.fid", "goal": "cfg.fid", "reached": "cca.fid", "at_least": 0.5}}
RATIO = {"ratio": {"this": "cca.fid", "to": "base.fid", "at_least": 0.5, "at_most": 2}}
SIZES = {"less": {"this": "sizes_cca.fid", "than": "sizes_base.fid"}}
NEAR = {"ratio": {"this": "beta_sweep.fid", "to": "cca.fid", "at_least": 0.5, "at_most": 2}}
CURVES = {"curve": "lambda_sweep", "reference": "cfg_sweep", "x": "inception_score", "y": "fid"}
RISES = {"rises": {"sweep": "lambda_sweep.recall", "at_least": 0.5}}
FALLS = {"falls": {"sweep": "lambda_sweep.recall", "at_least": 0.5}}
UP, DOWN = [1, 2, 3, 4], [9, 7, 5, 3]


@pytest.mark.parametrize(
    ("rule", "values", "verdict"),
    [
        ({"less": {"this": "cfg.fid", "than": "base.fid"}}, ([1, 2, 3], [3, 4.1, 5]), HOLDS),
        ({"less": {"this": "cfg.fid", "than": "base.fid"}}, ([3, 4.1, 5], [1, 2, 3]), FAILS),
        ({"less": {"this": "cfg.fid", "than": "base.fid"}}, ([1, 2, 3], [2, 1.5, 3.1]), UNDECIDED),
        ({"less": {"this": "cfg.fid", "than": "base.fid"}}, ([2, 2], [2, 2]), FAILS),
        ({"greater": {"this": "cfg.fid", "than": "base.fid"}}, ([3, 4.1, 5], [1, 2, 3]), HOLDS),
        ({"greater": {"this": "cfg.fid", "than": "base.fid"}}, ([1, 2, 3], [3, 4.1, 5]), FAILS),
        ({"greater": {"this": "cfg.fid", "than": "base.fid"}}, ([1, 2, 3], [2, 1.5, 3.1]), UNDECIDED),
        (SIZES, ([[1, 2], [1, 2.1]], [[2, 3], [2, 3]]), HOLDS),
        (SIZES, ([[1, 4], [1, 4.1]], [[9, 3], [9, 3]]), FAILS),  # at one size
        (SIZES, ([[1, 2], [1, 4]], [[9, 3], [9, 3]]), UNDECIDED),  # at one size
        (SIZES, ([[1, 2]], [[2, 3]]), UNDECIDED),  # one seed
        (SIZES, ([[1, np.nan]] * 2, [[2, 3]] * 2), UNDECIDED),
        ({"greater": {"this": "beta_sweep.fid", "than": "base.fid"}}, ([[3, 4], [3, 4.1]], [2, 2]), HOLDS),
        ({"greater": {"this": "beta_sweep.fid", "than": "base.fid"}}, ([[3, 1], [3, 1.1]], [2, 2]), FAILS),
        ({"less": {"this": "dpo.g_pos", "than": 0}}, ([-3, -3.1], [0, 0]), HOLDS),
        (RISES, ([UP, [1, 2, 4, 3]],), UNDECIDED),  # correlations 1 and 2/3: an interval far beyond both
        (RISES, ([UP, UP],), HOLDS),
        (RISES, ([DOWN, DOWN],), FAILS),
        (RISES, ([[1], [2]],), UNDECIDED),  # no order in a single point
        (FALLS, ([DOWN, DOWN],), HOLDS),
        (FALLS, ([UP, UP],), FAILS),
        (FALLS, ([[4, 3, 1, 2]] * 2 + [DOWN] * 8,), HOLDS),
        (FALLS, ([DOWN, UP],), UNDECIDED),
        (GAP, ([10, 10.2], [2, 2.2], [4, 4.1]), HOLDS),
        (GAP, ([10, 10.2], [2, 2.2], [9, 9.1]), FAILS),
        (GAP, ([10, 10.2], [2, 2.2], [5, 7]), UNDECIDED),
        (GAP, ([2, 3], [2, 3], [1, 1]), UNDECIDED),  # no gap
        (RATIO, ([1, 1.01], [1, 1]), HOLDS),
        (RATIO, ([5, 5.1], [1, 1]), FAILS),
        (RATIO, ([0.1, 0.11], [1, 1]), FAILS),
        (RATIO, ([1.5, 2.5], [1, 1]), UNDECIDED),
        (RATIO, ([1, 1], [0, 0]), UNDECIDED),
        (NEAR, ([[0.9, 1.1], [0.8, 1.2]], [1, 1]), UNDECIDED),  # the second: 1.15 and an interval beyond 2
        (NEAR, ([[0.9, 1.1], [0.9, 1.2]], [1, 1]), HOLDS),
        (NEAR, ([[0.9, 3.1], [0.9, 3.2]], [1, 1]), FAILS),
    ],
)
def test_a_rule_holds_fails_or_is_undecided(rule: dict, values: tuple, verdict: Verdict) -> None:
    assert found(rule, *values) is verdict


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, HOLDS), (3, FAILS), (0.1, FAILS)])
def test_same_curve_is_the_ratio_at_equal_x_however_the_points_lie(factor: float, verdict: Verdict) -> None:
    rule = {"same_curve": CURVES | {"at_least": 0.67, "at_most": 1.5}}
    reference_x, reference_y = [[1, 3, 5, 4]], [[10, 6, 2, 50]]  # what follows the largest x does not count
    curve_x, curve_y = [[2, 4, 99]], [[8 * factor, 4 * factor, 1000]]  # nor what is beyond it
    arrays = [np.array(a, dtype=float) for a in (curve_x, curve_y, reference_x, reference_y)]
    assert definitions.build(rule).effect(arrays).item() == pytest.approx(factor)
    assert found(rule, *arrays) is UNDECIDED  # one seed
    twice = [array.repeat(2, axis=0) for array in arrays]
    assert found(rule, *twice) is verdict
    assert found(rule, [[99, 100]] * 2, [[1, 1]] * 2, *twice[2:]) is UNDECIDED


def test_seeds_are_paired() -> None:
    """Differences within a seed are certain where the seeds themselves differ by far more."""
    rule = {"less": {"this": "cca.fid", "than": "base.fid"}}
    assert found(rule, [1, 11, 21], [2, 12, 22.1]) is HOLDS
    assert found(rule, [21, 1, 11], [2, 12, 22.1]) is UNDECIDED


def test_the_interval_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert over_seeds(values) == Estimate(values.mean(), pytest.approx(low), pytest.approx(high))
    one = over_seeds(np.array([3.0]))
    assert one == Estimate(3, -np.inf, np.inf) and one.text == one.spread == "3"
    assert over_seeds(np.array([1.0, np.nan])).text == "-"


def test_points_that_only_noise_sets_apart_do_not_add_up_to_an_effect() -> None:
    """Twenty points at which nothing differs: their maximum within a seed is positive for sure."""
    noise = np.random.default_rng(0).normal(size=(5, 20))
    assert judge(over_seeds(noise.max(axis=1)), Bounds(high=0, strict=True)) is FAILS
    assert found(SIZES, noise, np.zeros_like(noise)) is UNDECIDED


def test_the_best_point_is_chosen_on_the_other_seeds() -> None:
    values = np.array([[1.0, 2.0, 9.0], [1.0, 3.0, 0.0], [4.0, 0.0, 5.0]])
    # Sums of the other seeds: [5, 3, 5], [5, 2, 14], [2, 5, 9].
    assert at_best(values, "min")[:, 0].tolist() == [2, 3, 4]
    assert at_best(values[:2], "max")[:, 0].tolist() == [2, 0]
    assert at_best(values[:1], "min").tolist() == [[1]]
    noise = np.random.default_rng(0).normal(size=(2000, 20))
    assert noise.min(axis=1).mean() < -1.5
    assert at_best(noise, "min").mean() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("interval", "bounds", "verdict"),
    [
        ((0.5, 0.6), Bounds(low=0.5), HOLDS),
        ((0, 0.1), Bounds(low=0, strict=True), UNDECIDED),
        ((-1, 0), Bounds(low=0, strict=True), FAILS),
        ((0, 3), Bounds(1, 2), UNDECIDED),
        ((2, 3), Bounds(1, 2), UNDECIDED),
        ((2.1, 3), Bounds(1, 2), FAILS),
        ((np.nan, np.nan), Bounds(1, 2), UNDECIDED),
    ],
)
def test_the_ends_of_intervals(interval: tuple, bounds: Bounds, verdict: Verdict) -> None:
    assert judge(Estimate(interval[0], *interval), bounds) is verdict


def test_a_claim_is_as_good_as_its_weakest_rule() -> None:
    assert combine([HOLDS, HOLDS]) is HOLDS
    assert combine([HOLDS, UNDECIDED]) is UNDECIDED
    assert combine([UNDECIDED, FAILS, HOLDS]) is FAILS
