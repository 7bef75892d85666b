"""The optimisation loop: schedule, log, weight decay, and what stops it."""

import csv
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cca.errors import CCAError
from cca.rng import generator
from cca.training import Batches, Optimisation, optimise


def test_rates() -> None:
    constant = Optimisation(learning_rate=2.0, warmup_steps=4, warmup_from=0.2)
    assert [constant.rate(step, 10) for step in range(6)] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2, 2])
    cosine = Optimisation(learning_rate=1.0, schedule="cosine", final=0.01)
    assert [cosine.rate(step, 11) for step in (0, 5, 10)] == pytest.approx([1, 0.505, 0.01])


def test_linear_rates_are_vars() -> None:
    # Printed by lr_wd_annealing("lin0", peak_lr=2e-5, wp_it=100, max_it=5004, wp0=.005, wpe=.1) of VAR.
    linear = Optimisation(learning_rate=2e-5, warmup_steps=100, schedule="linear", flat=0.05, final=0.1)
    steps = [0, 50, 99, 100, 345, 346, 2500, 5003]
    expected = [1e-07, 1.005e-05, 1.9801e-05, 2e-05, 2e-05, 1.9996715e-05, 1.1672703e-05, 2e-06]
    assert [linear.rate(step, 5004) for step in steps] == pytest.approx(expected, rel=1e-7)


def test_shuffled_batches_visit_every_item_once_an_epoch() -> None:
    batches = list(islice(Batches(10, 4, generator(0)), 5))
    assert [len(batch) for batch in batches] == [4] * 5
    flat = np.concatenate(batches)
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10].tolist() != flat[10:].tolist()


def fit(
    tmp_path: Path, loss_of: object, steps: int = 3, undecayed: set[str] = frozenset(), **settings: float
) -> nn.Linear:
    torch.manual_seed(0)
    module = nn.Linear(2, 1)
    batches = [np.array([step]) for step in range(steps)]
    options = Optimisation(**{"learning_rate": 0.1} | settings)
    optimise(
        module,
        batches,
        lambda batch: loss_of(module, batch),
        options,
        steps=steps,
        what="fit",
        log=tmp_path / "log.csv",
        undecayed=undecayed,
    )
    return module


def test_log_has_a_row_a_step(tmp_path: Path) -> None:
    fit(
        tmp_path,
        lambda module, batch: (module.weight.square().sum(), {"twice": torch.tensor(2.0 * batch[0])}),
    )
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert [float(row["twice"]) for row in rows] == [0, 2, 4]
    assert float(rows[0]["loss"]) > float(rows[2]["loss"])


def test_only_matrices_decay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = nn.Linear(2, 1)
    after = fit(tmp_path, lambda module, batch: (0 * module(torch.zeros(1, 2)).sum(), {}), weight_decay=0.5)
    assert after.bias.tolist() == before.bias.tolist()
    assert after.weight.flatten().tolist() == pytest.approx((0.95**3 * before.weight).flatten().tolist())


def test_parameters_named_so_do_not_decay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = nn.Linear(2, 1)
    after = fit(tmp_path, lambda module, batch: (0 * module.weight.sum(), {}), undecayed={"weight"})
    assert after.weight.tolist() == before.weight.tolist()


def test_gradients_are_clipped(tmp_path: Path) -> None:
    # Adam is blind to the scale of gradients, so look at what the optimiser was given.
    module, seen = nn.Linear(2, 1), []

    def note(step: int) -> None:
        seen.append(torch.cat([p.grad.flatten() for p in module.parameters()]).norm().item())

    optimise(
        module,
        [np.array([0])] * 2,
        lambda batch: (100 * module.weight.sum() + module.bias.sum(), {}),
        Optimisation(learning_rate=0.1, clip=0.5),
        steps=2,
        what="fit",
        log=tmp_path / "log.csv",
        after_step=note,
    )
    assert seen == pytest.approx([0.5, 0.5])
    assert float(next(csv.DictReader((tmp_path / "log.csv").open()))["gradient_norm"]) > 100


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_naming_the_step_and_leaves_no_log(
    tmp_path: Path, bad: float
) -> None:
    def loss_of(module: nn.Linear, batch: np.ndarray) -> tuple:
        return module.weight.sum() * (bad if batch[0] == 2 else 1.0), {}

    with pytest.raises(CCAError, match=r"fit: the loss is (nan|inf|-inf) at step 2"):
        fit(tmp_path, loss_of)
    assert list(tmp_path.iterdir()) == []
