import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cca.errors import CCAError
from cca.evaluate.inception_score import inception_score


def one_hot(classes: np.ndarray, num_classes: int, height: float = 50.0) -> np.ndarray:
    return height * np.eye(num_classes)[classes]


def test_uniform_scores_are_worth_1():
    assert inception_score(np.full((100, 7), 3.0)) == pytest.approx(1, abs=1e-12)


def test_sure_and_balanced_scores_are_worth_the_number_of_classes():
    assert inception_score(one_hot(np.arange(120) % 12, 12)) == pytest.approx(12, rel=1e-9)


def test_sorted_scores_far_below_shuffled_ones():
    classes = np.repeat(np.arange(10), 100)
    shuffled = np.random.default_rng(0).permutation(classes)
    in_order, at_random = (inception_score(one_hot(c, 10), split_size=100) for c in (classes, shuffled))
    assert in_order == pytest.approx(1, abs=1e-6)
    assert at_random > 9


def test_a_partial_split_weighs_as_much_as_a_whole_one():
    """12 500 samples, three splits: two worth 10 and the short one worth 2."""
    logits = one_hot(np.concatenate([np.arange(10_000) % 10, np.arange(2500) % 2]), 10)
    assert inception_score(logits) == pytest.approx((10 + 10 + 2) / 3, rel=1e-9)


def test_large_logits_stay_finite():
    logits = np.where(np.random.default_rng(0).random((50, 5)) < 0.5, -200.0, 200.0).astype(np.float32)
    assert 1 <= inception_score(logits) <= 5


def test_against_the_definition():
    logits = np.random.default_rng(1).normal(size=(30, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.exp(np.mean([np.sum(row * np.log(row / p.mean(axis=0))) for row in p]))
    assert inception_score(logits) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 40))
def test_order_within_a_split_order_of_classes_and_shifts_of_a_row_do_not_matter(seed, size):
    rng = np.random.default_rng(seed)
    logits = 5 * rng.normal(size=(size, 6))
    score = inception_score(logits)
    assert 1 - 1e-12 <= score <= 6 + 1e-12
    assert inception_score(rng.permutation(logits)) == pytest.approx(score, rel=1e-10)
    assert inception_score(rng.permutation(logits, axis=1)) == pytest.approx(score, rel=1e-10)
    assert inception_score(logits + rng.normal(size=(size, 1))) == pytest.approx(score, rel=1e-10)


def test_bad_input():
    with pytest.raises(CCAError, match="at least one sample"):
        inception_score(np.zeros((0, 3)))
    with pytest.raises(CCAError, match="NaN or infinite"):
        inception_score(np.array([[0.0, np.nan]]))
