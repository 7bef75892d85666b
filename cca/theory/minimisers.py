"""Exact minimisers: in closed form, or by Newton's method in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cca.theory.losses import Loss, derivatives
from cca.theory.world import Worlds

DAMPING = 1e-3
"""Of the first step; then a fifth after a step that was good, five times after one that was not."""
TOLERANCE = 1e-10
"""Largest slope of what counts as a minimiser."""
MOST_STEPS = 300


def free_ratio(loss: Loss, worlds: Worlds, steps: int) -> Iterator[Tensor]:
    """Newton's steps from 0 to the r(x, c) that minimises a loss without any constraint: each (W, K, N)."""
    r = torch.zeros_like(worlds.conditional)
    for _ in range(steps):
        _, slope, curvature = derivatives(loss, worlds, r)
        r = r - slope / curvature
        yield r


def normalised(loss: Loss, worlds: Worlds) -> tuple[Tensor, Tensor]:
    """The table log p_theta(x|c) that minimises a loss, and its largest slope: (W, K, N) and (W,).

    Damped Newton steps from phi, label by label, on logits, so that each label's probabilities add up to 1.
    Below `exact_lam` of CCA the minimum is the only one; above, it is the one downhill of phi.
    """
    p = worlds.conditional
    identity = torch.eye(p.shape[-1], dtype=p.dtype)
    damping = torch.full(p.shape[:2], DAMPING, dtype=p.dtype)
    for _ in range(MOST_STEPS):
        terms, slope, curvature = derivatives(loss, worlds, p - worlds.conditional)
        q, total = p.exp(), slope.sum(dim=-1, keepdim=True)
        gradient = slope - q * total
        if gradient.abs().max() < TOLERANCE:
            break
        jacobian = identity - q[..., None, :]  # of log p in the logits
        hessian = jacobian.mT @ (curvature[..., None] * jacobian)
        hessian -= total[..., None] * (q.diag_embed() - q[..., None] * q[..., None, :])
        factor, failed = torch.linalg.cholesky_ex(hessian + damping[..., None, None] * identity)
        factor = torch.where(failed[..., None, None] == 0, factor, identity)
        move = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
        moved = (p - move).log_softmax(dim=-1)
        value = derivatives(loss, worlds, moved - worlds.conditional)[0].sum(dim=-1)
        rounding = 1e-14 * terms.abs().sum(dim=-1)
        good = (failed == 0) & (value <= terms.sum(dim=-1) + rounding)
        p = torch.where(good[..., None], moved, p)
        damping = torch.where(good, damping / 5, damping * 5).clamp(min=1e-14)
    return p, gradient.abs().amax(dim=(1, 2))


def exact_lam(worlds: Worlds, beta: float) -> Tensor:
    """The λ of each label at which CCA's minimiser is the target of s = 1/β itself: (W, K).

    Without normalisation the minimiser is p(x|c) [p(x|c) / (λ p(x))]^s, which adds up to λ^-s Z, where Z is
    the sum of p(x|c) [p(x|c)/p(x)]^s, 1 or more. It adds up to 1 if λ = Z^β.
    """
    return (beta * (worlds.conditional + worlds.ratio / beta).logsumexp(dim=-1)).exp()


def unlearned(worlds: Worlds, lam: float) -> Tensor:
    """Unlearning's minimiser, [p(x|c) - λ p(x)] / (1 - λ), as log-probabilities (W, K, N).

    The loss is a cross-entropy with these weights. Where one of them is negative, it falls without bound as
    that sequence becomes impossible: then the whole world is NaN.
    """
    weights = worlds.conditional.exp() - lam * worlds.marginal.exp()
    bounded = (weights >= 0).all(dim=-1).all(dim=-1) & (lam < 1)
    log_p = weights.clamp(min=0).log().log_softmax(dim=-1)  # the weights add up to 1 - λ
    return torch.where(bounded[:, None, None], log_p, torch.nan)
