"""Full-batch gradient descent from the pretrained model, which is where finetuning lives.

The parameters are the logits of a table, one a sequence and label. How fast a sequence moves depends on how
its neighbours pull at it in a network, which a table does not have. So there are two geometries, extremes of
what a network may do:

- ``plain``: the gradient in the logits. A sequence moves in proportion to its probability.
- ``even``: the gradient in the metric of the data, that is over p(x, c). All move as fast as they are asked.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from cca.theory.losses import NOWHERE, Loss, expected
from cca.theory.world import Worlds

Geometry = Literal["plain", "even"]


def descend(
    loss: Loss, worlds: Worlds, geometry: Geometry, rate: float, steps: list[int]
) -> Iterator[Tensor]:
    """log p_theta(x|c) after each number of ``steps``, which rise: each (W, K, N).

    The loss is divided by its slope in g of a positive at phi. So all objectives start at one speed, and
    ``rate`` means the same for all, whatever their β.
    """
    logits = worlds.conditional.clone().requires_grad_()
    weight = 1.0 if geometry == "plain" else (-worlds.labels[..., None] - worlds.conditional).exp()
    rate = rate / initial_slope(loss)
    for step in range(1, steps[-1] + 1):
        value = expected(loss, worlds, logits.log_softmax(dim=-1) - worlds.conditional)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        with torch.no_grad():
            logits -= rate * weight * gradient
        if step in steps:
            yield logits.detach().log_softmax(dim=-1)


def initial_slope(loss: Loss) -> float:
    """How fast a pair's loss falls as g of its positive rises from 0."""
    g = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(g, torch.zeros_like(g), NOWHERE), g)
    return -slope.item()
