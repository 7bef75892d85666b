import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from cca.errors import CCAError
from cca.evaluate.fid import frechet_distance
from cca.evaluate.statistics import Statistics


def features(seed: int, count: int = 200, dimension: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dimension, dimension))
    return rng.normal(size=(count, dimension)) @ mixing + rng.normal(size=dimension)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return frechet_distance(Statistics.of(a), Statistics.of(b))


def rest(a: np.ndarray, b: np.ndarray) -> float:
    """The distance without the trace of the root."""
    means = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return means + np.cov(a, rowvar=False).trace() + np.cov(b, rowvar=False).trace()


def test_to_itself_is_zero():
    assert distance(features(0), features(0)) == pytest.approx(0, abs=1e-6)


def test_one_dimension():
    a, b = (Statistics(np.array([m]), np.array([[s**2]]), 10) for m, s in ((1.0, 2.0), (4.0, 0.5)))
    assert frechet_distance(a, b) == pytest.approx(9 + 1.5**2, rel=1e-12)


def test_diagonal_covariances():
    s, t = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.1, 5.0])
    a, b = Statistics(np.zeros(3), np.diag(s**2), 10), Statistics(np.ones(3), np.diag(t**2), 10)
    assert frechet_distance(a, b) == pytest.approx(3 + ((s - t) ** 2).sum(), rel=1e-12)


def test_agrees_with_sqrtm_and_with_eigenvalues_of_the_product():
    a, b = features(1), features(2)
    product = np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)
    by_sqrtm = rest(a, b) - 2 * scipy.linalg.sqrtm(product).real.trace()
    by_eigenvalues = rest(a, b) - 2 * np.sqrt(np.linalg.eigvals(product).real.clip(0)).sum()
    assert distance(a, b) == pytest.approx(by_sqrtm, rel=1e-6)
    assert distance(a, b) == pytest.approx(by_eigenvalues, rel=1e-6)


@pytest.mark.parametrize(("few", "many"), [(5, 8), (8, 300), (5, 300)])
def test_fewer_samples_than_features(few, many):
    """tr sqrt(S1 S2) is the nuclear norm of X1 X2' / sqrt((n1 - 1)(n2 - 1)), X centred."""
    a, b = features(3, few, 20), features(4, many, 20)
    x, y = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (a, b))
    expected = rest(a, b) - 2 * np.linalg.norm(x @ y.T, "nuc")
    assert distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert distance(b, a) == pytest.approx(expected, rel=1e-5)


def test_a_dead_feature_changes_nothing():
    a, b = features(5), features(6)
    dead_a, dead_b = (np.insert(z, 2, 0.0, axis=1) for z in (a, b))
    assert distance(dead_a, dead_b) == pytest.approx(distance(a, b), rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_symmetry_order_rotation_translation_scale(seed, scale):
    rng = np.random.default_rng(seed)
    a, b = features(seed), features(seed + 1)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    shift = rng.normal(size=6)
    expected = distance(a, b)
    assert distance(b, a) == pytest.approx(expected, rel=1e-7)
    assert distance(rng.permutation(a), b) == pytest.approx(expected, rel=1e-7)
    assert distance(a @ rotation + shift, b @ rotation + shift) == pytest.approx(expected, rel=1e-7)
    assert distance(scale * a, scale * b) == pytest.approx(scale**2 * expected, rel=1e-7)


def test_permutation_of_features_joint_and_one_sided():
    a, b = features(7), features(8)
    order = np.array([3, 1, 5, 0, 2, 4])
    assert distance(a[:, order], b[:, order]) == pytest.approx(distance(a, b), rel=1e-9)
    assert distance(a, b[:, order]) != pytest.approx(distance(a, b), rel=0.01)
    assert distance(a, a[:, order]) > 1


def test_statistics_that_do_not_match_or_are_not_finite():
    a, b = Statistics.of(features(0)), Statistics.of(features(0, dimension=3))
    with pytest.raises(CCAError, match="6 and of 3 features"):
        frechet_distance(a, b)
    broken = Statistics(a.mean * np.nan, a.covariance, a.count)
    with pytest.raises(CCAError, match="NaN or infinite"):
        frechet_distance(a, broken)
