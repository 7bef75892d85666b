"""Random numbers are functions of their key, uniform and independent."""

import numpy as np
from scipy import stats

from cca.rng import generator, sample_uniforms


def test_a_samples_numbers_do_not_depend_on_its_neighbours_or_on_how_many_are_drawn() -> None:
    together = sample_uniforms(3, np.arange(10), 7)
    alone = sample_uniforms(3, np.array([4]), 7)
    longer = sample_uniforms(3, np.array([4]), 9)
    assert (together[4] == alone[0]).all()
    assert (longer[0, :7] == alone[0]).all()


def test_seeds_samples_and_streams_differ() -> None:
    draws = [sample_uniforms(seed, np.array([index]), 4)[0] for seed in (0, 1) for index in (0, 1)]
    draws.append(generator("labels", 0).random(4))
    assert len({tuple(draw) for draw in draws}) == 5


def test_keys_are_not_run_together() -> None:
    assert generator("a", 1, 23).random() != generator("a", 12, 3).random()
    assert generator("1").random() != generator(1).random()


def test_uniform_within_and_across_samples() -> None:
    draws = sample_uniforms(0, np.arange(2000), 3)
    assert draws.min() >= 0 and draws.max() < 1
    for column in draws.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.08
