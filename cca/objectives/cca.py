"""Condition contrastive alignment, the paper's objective."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid


def loss(
    g_pos: Tensor,
    g_neg: Tensor,
    positive_pair: Tensor,
    *,
    beta: Annotated[float, Field(gt=0)] = 0.02,
    lam: Annotated[float, Field(ge=0)],
) -> Tensor:
    """``-logσ(β g_pos) - λ logσ(-β g_neg)``, divided by max(λ, 1) (the paper's CCA loss): (B,).

    Where ``positive_pair``, the second term is ``-logσ(β g_neg)`` with weight 1: the image counts
    as a positive twice (thu-ml/CCA, ``LlamaGen_finetune.py``, ``VAR_CCA_trainer.py``).
    """
    second = torch.where(positive_pair, logsigmoid(beta * g_neg), lam * logsigmoid(-beta * g_neg))
    return -(logsigmoid(beta * g_pos) + second) / max(lam, 1.0)
