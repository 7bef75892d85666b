"""VAR's transformer blocks: attention with a cache, normalisation by class (AdaLN), stochastic depth.

Names of the weights, and letters of the shapes, are those of `cca.models.var`.
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from cca.settings import Settings

LARGEST_SCALE = math.log(100)  # of queries of unit length


class Architecture(Settings):
    """Sizes of the transformer; stochastic depth rises linearly from 0, VAR's to 0.1 depth / 24."""

    depth: int = Field(ge=1)
    dim: int = Field(ge=2)
    heads: int = Field(ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0, description="feed-forward width over dim")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="stochastic depth of the last block")
    norm_eps: float = Field(default=1e-6, gt=0)

    @model_validator(mode="after")
    def _sizes_divide(self) -> "Architecture":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not divisible by heads {self.heads}")
        return self


class Cache:
    """Keys and values of one layer's tokens so far, in memory taken once, at the first scale."""

    def __init__(self, length: int):
        self.length, self.filled = length, 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add a scale's keys and values (B, H, n, D); all so far, as views (B, H, filled, D)."""
        B, H, n, D = keys.shape
        if self.filled == 0:  # not before, because autocast decides the dtype
            self.keys, self.values = keys.new_empty(2, B, H, self.length, D)
        new = slice(self.filled, self.filled + n)
        self.keys[:, :, new], self.values[:, :, new] = keys, values
        self.filled += n
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]


def lengths(x: Tensor) -> Tensor:
    """Euclidean norms (..., 1) of x (..., D), in float32 or better, at least 1e-12, as in `F.normalize`."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype).clamp_min(1e-12)


class Attention(nn.Module):
    """Self-attention, over a whole sequence with a mask, or over the cached past and the new tokens.

    Queries and keys have unit length; each head learns a scale.
    """

    zero_k_bias: Tensor

    def __init__(self, a: Architecture):
        super().__init__()
        self.heads = a.heads
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, a.heads, 1, 1), math.log(4)))
        self.mat_qkv = nn.Linear(a.dim, 3 * a.dim, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(a.dim)), nn.Parameter(torch.zeros(a.dim))
        self.register_buffer("zero_k_bias", torch.zeros(a.dim))
        self.proj = nn.Linear(a.dim, a.dim)

    def forward(self, x: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:
        """x (B, n, C) to the same; ``mask`` is added to the attention's logits."""
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        qkv = F.linear(x, self.mat_qkv.weight, bias).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # (B, H, n, D) each
        scale = self.scale_mul_1H11.clamp(max=LARGEST_SCALE).exp()
        queries = (queries * (scale / lengths(queries))).type_as(values)
        keys = (keys * lengths(keys).reciprocal()).type_as(values)
        if cache is not None:
            keys, values = cache.append(keys, values)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=1.0)
        return self.proj(mixed.transpose(1, 2).flatten(2))


def modulate(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Normalise x (B, n, C) over its last dimension, then ``(1 + scale) x + shift``, each (B, 1, C)."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)


class Block(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by numbers made from the class (AdaLN)."""

    def __init__(self, a: Architecture, drop_path: float):
        super().__init__()
        self.eps, self.drop_path = a.norm_eps, drop_path
        self.attn = Attention(a)
        hidden = round(a.dim * a.mlp_ratio)
        layers = {"fc1": nn.Linear(a.dim, hidden), "act": nn.GELU("tanh"), "fc2": nn.Linear(hidden, a.dim)}
        self.ffn = nn.Sequential(OrderedDict(layers))
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(a.dim, 6 * a.dim))

    def modulations(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Gates, scales and shifts of attention and feed-forward from the class (B, C): six of (B, 1, C)."""
        return self.ada_lin(condition).type_as(condition).unflatten(-1, (6, 1, -1)).unbind(1)

    def forward(
        self,
        x: Tensor,
        condition: Tensor | tuple[Tensor, ...],
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """x (B, n, C) to the same, for the classes (B, C) or the `modulations` made of them."""
        modulations = self.modulations(condition) if isinstance(condition, Tensor) else condition
        gate1, gate2, scale1, scale2, shift1, shift2 = modulations
        attended = self.attn(modulate(x, scale1, shift1, self.eps), mask, cache)
        x = torch.addcmul(x, self._drop(gate1), attended)
        return torch.addcmul(x, self._drop(gate2), self.ffn(modulate(x, scale2, shift2, self.eps)))

    def _drop(self, gate: Tensor) -> Tensor:
        """In training, 0 for the images that skip this branch, and 1 / (1 - drop_path) times for others."""
        if not (self.training and self.drop_path):
            return gate
        keep = 1 - self.drop_path
        return gate * (gate.new_empty(len(gate), 1, 1).bernoulli_(keep) / keep)


class HeadNorm(nn.Module):
    """Normalisation before the output layer, scaled and shifted by the class."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.eps = a.norm_eps
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(a.dim, 2 * a.dim))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, n, C) to the same, for the classes (B, C)."""
        scale, shift = self.ada_lin(condition).type_as(condition).unflatten(-1, (2, 1, -1)).unbind(1)
        return modulate(x, scale, shift, self.eps)
