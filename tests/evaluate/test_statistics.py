import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cca.errors import CCAError
from cca.evaluate.statistics import Accumulator, Statistics


@given(
    count=st.integers(2, 40),
    dimension=st.integers(1, 6),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    offset=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_any_batches_give_numpys_mean_and_covariance(count, dimension, cuts, offset, seed):
    features = np.random.default_rng(seed).normal(size=(count, dimension)) + offset
    gathered = Accumulator(dimension)
    for batch in np.split(features, sorted(min(cut, count) for cut in cuts)):
        gathered.add(batch)
    statistics = gathered.statistics()
    assert statistics.count == count
    np.testing.assert_allclose(statistics.mean, features.mean(axis=0), rtol=1e-12, atol=1e-12)
    expected = np.cov(features, rowvar=False, ddof=1).reshape(dimension, dimension)
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-9, atol=1e-9)


def test_more_features_than_samples_in_batches_of_any_size():
    dimension = 600
    features = np.random.default_rng(0).normal(size=(50, dimension)) + np.arange(dimension)
    gathered = Accumulator(dimension)
    for batch in np.split(features, [20, 21]):
        gathered.add(batch)
    covariance = gathered.statistics().covariance
    np.testing.assert_array_equal(covariance, covariance.T)
    np.testing.assert_allclose(covariance, np.cov(features, rowvar=False), rtol=1e-9, atol=1e-9)


def test_float32_features_are_summed_in_float64():
    features = np.random.default_rng(0).normal(size=(10_000, 2)).astype(np.float32) + np.float32(1000)
    statistics = Statistics.of(features)
    assert statistics.covariance.dtype == np.float64
    np.testing.assert_allclose(
        statistics.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-9
    )


@pytest.mark.parametrize("features", [np.zeros((1, 3)), np.zeros((0, 3))])
def test_too_few_samples(features):
    with pytest.raises(CCAError, match="at least 2 samples"):
        Statistics.of(features)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite(bad):
    features = np.ones((5, 2))
    features[3, 1] = bad
    with pytest.raises(CCAError, match="NaN or infinite"):
        Statistics.of(features)
