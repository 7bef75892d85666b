"""How far a distribution is from the target, and which target is nearest: the effective guidance scale."""

import torch
from torch import Tensor

from cca.theory.world import Worlds

LARGEST_SCALE = 1000.0
"""Effective scales are sought up to this one."""
HALVINGS = 60
NO_INFORMATION = 1e-12
"""Below this mutual information, in nats, all targets are one and no scale is effective."""


def kl(worlds: Worlds, p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats, of log-probabilities (W, K, N), averaged over labels: (W,)."""
    return worlds.mean(p, p - q)


def total_variation(worlds: Worlds, p: Tensor, q: Tensor) -> Tensor:
    """Half of the summed differences of probabilities, averaged over labels: (W,)."""
    return 0.5 * worlds.mean(torch.zeros_like(p), (p.exp() - q.exp()).abs())


def effective_scale(worlds: Worlds, p: Tensor) -> Tensor:
    """The s >= 0 whose target is nearest to ``p`` (W, K, N) in KL(p || target): (W,).

    That KL is convex in s, and least where p and the target agree on the mean of log p(x|c)/p(x), which is
    found by halving. NaN where there is none below `LARGEST_SCALE`, or where sequences tell nothing about
    labels.
    """
    wanted = worlds.mean(p, worlds.ratio)
    told = (worlds.information > NO_INFORMATION) & (
        wanted < worlds.mean(worlds.target(LARGEST_SCALE), worlds.ratio)
    )
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, LARGEST_SCALE)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = worlds.mean(worlds.target(middle), worlds.ratio) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(told, (low + high) / 2, torch.nan)
