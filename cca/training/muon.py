"""Muon (Jordan et al. 2024): momentum made orthogonal, for convolutions that a normalisation follows.

For trainings of few epochs. Torch's own Muon takes matrices only and computes in bfloat16, which many CPUs
emulate.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cca.training import Optimisation, adamw_groups

MOMENTUM = 0.9
COEFFICIENTS = (
    3.4445,
    -4.7750,
    2.0315,
)  # Jordan's, of the quintic, which takes values from 0.02 on to between 0.68 and 1.21
ITERATIONS = 3


class Muon(torch.optim.AdamW):
    """AdamW, and Muon for convolutions.

    A convolution's weight, as a matrix with a row a filter, keeps the Frobenius norm of rows of length 1: the
    batch normalisation that has to follow makes its scale meaningless.

    Args:
        module: the network.
        settings: of AdamW; of these Muon shares the schedule.
        times: learning rate of convolutions over that of all else.
    """

    def __init__(self, module: nn.Module, settings: Optimisation, times: float):
        filters = [layer.weight for layer in module.modules() if isinstance(layer, nn.Conv2d)]
        ours = set(map(id, filters))
        groups = adamw_groups(module, settings)
        for group in groups:
            group["params"] = [weight for weight in group["params"] if id(weight) not in ours]
        muon = {"params": filters, "times": times, "weight_decay": 0.0}
        super().__init__([*groups, muon], lr=settings.learning_rate, betas=settings.betas)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all parameters that have a gradient; a convolution's is used up."""
        for group in self.param_groups:
            for weight in group["params"] if "times" in group else []:
                if weight.grad is not None:
                    self._step_along_rows(weight, group["lr"] * group["times"])
                    weight.grad = None  # so that AdamW passes it by
        return super().step(closure)

    def _step_along_rows(self, weight: Tensor, rate: float) -> None:
        assert weight.grad is not None
        state = self.state[weight]
        if not state:  # AdamW, which keeps it, looks for a step
            state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(weight)}
        momentum = state["momentum"]
        momentum.mul_(MOMENTUM).add_(weight.grad)
        ahead = weight.grad.add(momentum, alpha=MOMENTUM)  # Nesterov's
        weight.mul_(len(weight) ** 0.5 / weight.norm())
        weight.sub_(orthogonal(ahead.flatten(1)).view_as(weight), alpha=rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V' of a matrix (m, n) that is U S V': the same singular vectors, and values near 1.

    But for those below 0.02 of the Frobenius norm, which grow forty-fold.
    """
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if len(matrix) > matrix.shape[1] else x
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if len(matrix) > matrix.shape[1] else x
