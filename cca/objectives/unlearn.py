"""Unlearning: raise the likelihood of positives, lower that of negatives, without a bound."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor


def loss(
    g_pos: Tensor, g_neg: Tensor, positive_pair: Tensor, *, lam: Annotated[float, Field(ge=0)]
) -> Tensor:
    """``-g_pos + λ g_neg``, divided by max(λ, 1) (the paper's unlearning baseline): (B,).

    Where ``positive_pair``, the second term is ``-g_neg`` (thu-ml/CCA).
    """
    return (-g_pos + torch.where(positive_pair, -g_neg, lam * g_neg)) / max(lam, 1.0)
