"""The expected losses of `cca.objectives` over all pairs, without sampling.

A pair is a sequence and its label, drawn from p(x, c), and a second label drawn from p(c) on its own: the
sequence and the second label come from p(x)p(c), as in the paper's theorem. So no pair is a
``positive_pair``, not even one of equal labels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from cca.theory.world import Worlds

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
NOWHERE = torch.zeros((), dtype=torch.bool)


def expected(loss: Loss, worlds: Worlds, g: Tensor) -> Tensor:
    """Mean loss over all pairs, of g (W, K, N) = log p_theta(x|c) - log p_phi(x|c): (W,)."""
    losses = loss(g[:, :, None], g[:, None], NOWHERE)  # (W, K, K, N)
    joint = (worlds.labels[..., None] + worlds.conditional).exp()
    second = worlds.labels.exp()[:, None, :, None]
    return (joint[:, :, None] * second * losses).sum(dim=(1, 2, 3))


def separate(loss: Loss, worlds: Worlds, g: Tensor) -> Tensor:
    """Terms (W, K, N) whose mean over p(c) and sum over x is `expected`, but for a constant.

    For a loss that is a sum of one function of the positive and one of the negative, as CCA's:
    l(g, g') = l(g, 0) + l(0, g') - l(0, 0).
    """
    zero = torch.zeros_like(g)
    positive = worlds.conditional.exp() * loss(g, zero, NOWHERE)
    return positive + worlds.marginal.exp() * loss(zero, g, NOWHERE)


def derivatives(loss: Loss, worlds: Worlds, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`separate` at g, and its first and second derivatives in g, each (W, K, N)."""
    g = g.detach().requires_grad_()
    terms = separate(loss, worlds, g)
    (slope,) = torch.autograd.grad(terms.sum(), g, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), g)
    return terms.detach(), slope.detach(), curvature
