import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cca.errors import CCAError
from cca.evaluate import precision_recall as module
from cca.evaluate.precision_recall import precision_recall


def slow(reference: np.ndarray, samples: np.ndarray, k: int = 3) -> tuple[float, float]:
    """The definition, one pair of points at a time, in float64."""

    def squared(a, b):
        return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))

    def radii(points):
        return [sorted(squared(p, q) for q in points)[k] for p in points]

    def covered(points, centres):
        balls = list(zip(centres, radii(centres), strict=True))
        return np.mean([any(squared(p, centre) <= radius for centre, radius in balls) for p in points])

    return covered(samples, reference), covered(reference, samples)


def cloud(seed: int, count: int, spread: float = 1.0, dimension: int = 4) -> np.ndarray:
    return spread * np.random.default_rng(seed).normal(size=(count, dimension))


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_agrees_with_the_definition(k, dtype):
    reference, samples = cloud(0, 50).astype(dtype), cloud(1, 70, 0.8).astype(dtype)
    assert precision_recall(reference, samples, k) == pytest.approx(slow(reference, samples, k), abs=1e-12)


def test_k_matters():
    reference, samples = cloud(0, 50), cloud(1, 70, 0.8)
    assert len({precision_recall(reference, samples, k) for k in (2, 3, 4)}) == 3


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    block=st.integers(1, 50),
)
def test_blocks_swaps_order_and_scale(seed, sizes, block):
    reference, samples = cloud(seed, sizes[0]), cloud(seed + 1, sizes[1], 0.7)
    precision, recall = precision_recall(reference, samples, block_size=10_000)
    assert precision_recall(reference, samples, block_size=block) == (precision, recall)
    assert precision_recall(samples, reference) == (recall, precision)
    rng = np.random.default_rng(seed)
    assert precision_recall(rng.permutation(reference), rng.permutation(samples)) == (precision, recall)
    assert precision_recall(4 * reference, 4 * samples) == (precision, recall)


def test_a_block_size_that_divides_nothing():
    reference, samples = cloud(0, 50), cloud(1, 70, 0.8)
    assert precision_recall(reference, samples, block_size=7) == precision_recall(reference, samples)


@pytest.mark.parametrize("name", ["squared_distances", "adm_distances"])
def test_no_block_of_distances_is_larger_than_a_block(name, monkeypatch):
    compute, shapes = getattr(module, name), []

    def noted(a, b):
        result = compute(a, b)
        shapes.append(tuple(result.shape))
        return result

    monkeypatch.setattr(module, name, noted)
    precision_recall(cloud(0, 50), cloud(1, 70), block_size=7, adm_float16=name == "adm_distances")
    assert len(shapes) == 8 * 9 / 2 + 10 * 11 / 2 + 8 * 10  # of 50 there are 8 blocks, of 70 there are 10
    assert max(max(shape) for shape in shapes) == 7


def test_a_point_exactly_on_the_radius_is_inside():
    reference = np.array([[0.0], [1.0], [2.0], [3.0]])  # radii 3, 2, 2, 3
    assert precision_recall(reference, np.array([[6.0], [50.0], [51.0], [52.0]]))[0] == 0.25
    assert precision_recall(reference, np.array([[6.0001], [50.0], [51.0], [52.0]]))[0] == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block", [3, 10_000])
def test_duplicates_have_radius_0_and_still_count(dtype, block):
    """Far from the origin, where rounding makes the expanded square of equal points differ from 0."""
    point = np.random.default_rng(0).normal(loc=5, size=(1, 300)).astype(dtype)
    reference = np.repeat(point, 8, axis=0)
    samples = np.concatenate([np.repeat(point, 5, axis=0), point + dtype(0.5), point - dtype(0.5)])
    assert precision_recall(reference, samples, block_size=block)[0] == pytest.approx(5 / 7)
    assert precision_recall(reference, samples, block_size=block)[1] == 1


def test_collapsed_samples_are_precise_and_cover_little():
    precision, recall = precision_recall(cloud(0, 200), cloud(1, 200, 0.02))
    assert precision == 1
    assert recall < 0.05


def test_float16_rounds_distances():
    """A sample just outside in float32, whose distance rounds to the radius in float16."""
    reference = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    samples = np.array([[6.001], [50.0], [51.0], [52.0]], np.float32)
    assert precision_recall(reference, samples)[0] == 0
    assert precision_recall(reference, samples, adm_float16=True)[0] == 0.25


def test_float16_agrees_with_the_suites_arithmetic():
    def suite(u, v):
        u, v = u.astype(np.float16), v.astype(np.float16)
        norms = [(x**2).astype(np.float32).sum(axis=1).astype(np.float16) for x in (u, v)]
        cross = (u.astype(np.float32) @ v.T.astype(np.float32)).astype(np.float16)
        return np.maximum(norms[0][:, None] - np.float16(2) * cross + norms[1], np.float16(0))

    reference, samples = cloud(0, 50).astype(np.float32), cloud(1, 70, 0.8).astype(np.float32)
    reference_radii, sample_radii = (np.sort(suite(x, x), axis=1)[:, 3] for x in (reference, samples))
    between = suite(reference, samples)
    expected = (
        (between <= reference_radii[:, None]).any(axis=0).mean(),
        (between <= sample_radii).any(axis=1).mean(),
    )
    assert precision_recall(reference, samples, adm_float16=True) == pytest.approx(expected)


def test_blocks_that_overflow_float16_are_done_in_float32():
    reference, samples = (1000 * cloud(seed, 60).astype(np.float32) for seed in (0, 1))
    assert precision_recall(reference, samples, adm_float16=True) == precision_recall(reference, samples)


def test_bad_input():
    with pytest.raises(CCAError, match="more than 3 reference, got 3"):
        precision_recall(cloud(0, 3), cloud(1, 10))
    with pytest.raises(CCAError, match="more than 3 samples, got 2"):
        precision_recall(cloud(0, 10), cloud(1, 2))
    with pytest.raises(CCAError, match="samples are NaN"):
        precision_recall(cloud(0, 10), np.full((10, 4), np.nan))
    with pytest.raises(CCAError, match="4 features of the reference, 5 of the samples"):
        precision_recall(cloud(0, 10), cloud(1, 10, dimension=5))
