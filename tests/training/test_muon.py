"""Muon's step against a singular value decomposition, and what is left to AdamW."""

import numpy as np
import pytest
import torch
from torch import nn

from cca.training import Optimisation, adamw
from cca.training.muon import MOMENTUM, Muon, orthogonal

SETTINGS = Optimisation(learning_rate=0.01, weight_decay=0.1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))


def gradients(module: nn.Module) -> None:
    """Sets them; the same each time."""
    torch.manual_seed(1)
    for weight in module.parameters():
        weight.grad = torch.randn_like(weight)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_singular_vectors_stay_and_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ orthogonal(matrix) @ v.T
    assert (values - values.diag().diag()).abs().max() < 1e-4
    assert values.diag().min() > 0.6 and values.diag().max() < 1.3


def test_convolutions_take_muons_step_and_keep_their_norm() -> None:
    module = network()
    weight, optimizer = module[0].weight, Muon(module, SETTINGS, times=5)
    before = weight.detach().clone()
    gradients(module)
    given = [weight.grad.clone(), weight.grad.clone()]
    optimizer.step()
    normed = before * 8**0.5 / before.norm()
    torch.testing.assert_close(normed - weight, 0.05 * orthogonal(given[0].flatten(1)).view_as(weight))
    before = weight.detach().clone()
    gradients(module)
    optimizer.step()  # the second time along g + m (m g + g): Nesterov's momentum
    ahead = given[1] + MOMENTUM * (MOMENTUM * given[0] + given[1])
    normed = before * 8**0.5 / before.norm()
    torch.testing.assert_close(normed - weight, 0.05 * orthogonal(ahead.flatten(1)).view_as(weight))


def test_all_else_is_adamws() -> None:
    ours, theirs = network(), network()
    optimizers = Muon(ours, SETTINGS, times=5), adamw(theirs, SETTINGS)
    for _ in range(3):
        for module, optimizer in zip((ours, theirs), optimizers, strict=True):
            gradients(module)
            optimizer.step()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other) == (name != "0.weight"), name


def test_a_resumed_training_takes_the_same_steps() -> None:
    """By way of the state that is kept of a killed one."""
    steps = []
    for resumed in (False, True):
        module = network()
        optimizer = Muon(module, SETTINGS, times=5)
        for step in range(4):
            if resumed and step == 2:
                state = optimizer.state_dict()
                optimizer = Muon(module, SETTINGS, times=5)
                optimizer.load_state_dict(state)
            gradients(module)
            optimizer.step()
        steps.append(np.concatenate([weight.detach().numpy().ravel() for weight in module.parameters()]))
    assert (steps[0] == steps[1]).all()
