"""Direct preference optimisation, with the shuffled label as the dispreferred answer."""

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid


def loss(
    g_pos: Tensor, g_neg: Tensor, positive_pair: Tensor, *, beta: Annotated[float, Field(gt=0)] = 0.02
) -> Tensor:
    """``-logσ(β (g_pos - g_neg))`` (Rafailov et al. 2023): (B,).

    A pair of equal labels has g_pos = g_neg: the constant log 2, no signal. So ``positive_pair``
    changes nothing, as in thu-ml/CCA.
    """
    return -logsigmoid(beta * (g_pos - g_neg))
