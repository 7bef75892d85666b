"""Direct discriminative optimisation: the likelihood ratio tells real from generated images."""

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

NEGATIVES = "samples"


def loss(
    g_pos: Tensor,
    g_neg: Tensor,
    positive_pair: Tensor,
    *,
    alpha: Annotated[float, Field(gt=0)] = 1.0,
    beta: Annotated[float, Field(gt=0)] = 0.02,
) -> Tensor:
    """``-logσ(β g_pos) - α logσ(-β g_neg)``, g_neg of the model's own sample (Zheng et al. 2025): (B,).

    With α = β = 1 this is a GAN discriminator's loss, and its optimum is the data distribution. This is one
    round, from samples that the pretrained model draws without guidance; the paper's further rounds,
    each from samples of the round before, are not here.
    """
    return -logsigmoid(beta * g_pos) - alpha * logsigmoid(-beta * g_neg)
