"""Classifier-free guidance: the scale, how it moves over decoding steps, and how tokens are drawn."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from cca.settings import Settings


class Guidance(Settings):
    """How a model is decoded.

    ``scale`` is the paper's s in ``l = l_c + s (l_c - l_u)``: 0 is guidance-free and costs one
    forward pass a step, anything above costs two. (LlamaGen's command-line scale is s + 1.)
    """

    scale: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "linear"] = "constant"
    temperature: float = Field(default=1.0, gt=0)
    top_k: int = Field(default=0, ge=0, description="0 keeps all tokens")
    top_p: float = Field(default=1.0, gt=0, le=1)

    def scales(self, steps: int) -> list[float]:
        """The scale s_k of each of ``steps`` decoding steps.

        ``constant`` is LlamaGen's; ``linear`` is VAR's ramp s_k = s k / (K - 1), the paper's CFGv2.
        """
        if self.schedule == "constant" or steps == 1:
            return [self.scale] * steps
        return [self.scale * step / (steps - 1) for step in range(steps)]


def guide(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    """Guided logits ``l_c + s (l_c - l_u)`` of classifier-free guidance: (..., V), as the logits."""
    return conditional + scale * (conditional - unconditional)
