"""LlamaGen: a decoder-only transformer that draws an image's codes one by one in raster order.

Names and shapes of the weights are those of FoundationVision/LlamaGen (ce98ec4),
``autoregressive/models/gpt.py``, so that its checkpoints load. Shapes below: B images, T tokens
of an image, V codes in the vocabulary, H heads (and G key-value heads) of D numbers.
"""

import math
from functools import partial
from itertools import repeat

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from cca.decoding import choose_tokens
from cca.errors import CCAError
from cca.guidance import Guidance, guide
from cca.models import ARModel
from cca.models._common import check_finite_logits, check_integers, check_shape
from cca.settings import Settings
from cca.tokenizers import Tokenizer


class Architecture(Settings):
    """Sizes of the transformer; LlamaGen-B is dim 768, 12 layers, 12 heads."""

    dim: int = Field(ge=4)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    multiple_of: int = Field(default=256, ge=1, description="the feed-forward width is rounded up to one")
    norm_eps: float = Field(default=1e-5, gt=0)
    rope_base: float = Field(default=10000.0, gt=1)
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of embeddings and of both parts of a layer")

    @model_validator(mode="after")
    def _sizes_divide(self) -> "Architecture":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not divisible by heads {self.heads}")
        if self.head_dim % 4:
            raise ValueError(f"dim / heads is {self.head_dim}; rotary positions need a multiple of 4")
        return self

    @property
    def head_dim(self) -> int:
        """Numbers of one head."""
        return self.dim // self.heads


def rotation_table(side: int, head_dim: int, base: float) -> Tensor:
    """Rotary position factors (cos, sin) of the INPUT sequence: (T, D/2, 2) float32.

    The inputs are the class token and all codes but the last. The class token has the factor (0, 0),
    so its query and key are zero, which the official weights need. A code's row turns the first
    half of a head, its column the second (``gpt.py``, ``precompute_freqs_cis_2d``).
    """
    half = head_dim // 2
    frequencies = 1.0 / base ** (torch.arange(0, half, 2).float() / half)  # (D/4,)
    angles = torch.arange(side).outer(frequencies)  # (side, D/4)
    angles = torch.cat([angles.repeat_interleave(side, dim=0), angles.repeat(side, 1)], dim=1)  # (T, D/2)
    factors = torch.stack([angles.cos(), angles.sin()], dim=-1)
    return torch.cat([torch.zeros(1, half, 2), factors[:-1]])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Multiply neighbours in x (B, T, H, D), as complex numbers, by ``table`` (T, D/2, 2), in float32."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    factors = torch.view_as_complex(table.float()).unsqueeze(1)  # (T, 1, D/2)
    return torch.view_as_real(pairs * factors).flatten(-2).type_as(x)


def attention(queries: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
    """Attention of queries (B, T, H, D) to keys and values (B, ..., H, D): (B, T, H, D)."""
    q, k, v = queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)


class Cache:
    """One layer's keys and values of the tokens so far, in memory taken once: (B, H, T, D) each.

    ``fused`` attends with torch's kernel, for GPUs. On a CPU that takes images and heads one by one; batched
    products of all of them are quicker there, the more so the longer the sequence.
    """

    def __init__(self, length: int, fused: bool):
        self.length, self.fused, self.filled = length, fused, 0

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Add a token's keys and values (B, 1, H, D); attend from its query to all so far: (B, 1, H, D)."""
        B, _, H, D = keys.shape
        if self.filled == 0:  # not before, because autocast decides the dtype
            self.keys, self.values = keys.new_empty(2, B, H, self.length, D)
        self.keys[:, :, self.filled], self.values[:, :, self.filled] = keys[:, 0], values[:, 0]
        self.filled += 1
        keys, values = self.keys[:, :, : self.filled], self.values[:, :, : self.filled]
        if self.fused:
            return attention(queries, keys.transpose(1, 2), values.transpose(1, 2), causal=False)
        weights = (queries.transpose(1, 2) * D**-0.5 @ keys.mT).softmax(dim=-1)  # (B, H, 1, T)
        return (weights @ values).transpose(1, 2)


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.heads, self.head_dim = a.heads, a.head_dim
        self.wqkv = nn.Linear(a.dim, 3 * a.dim, bias=False)
        self.wo = nn.Linear(a.dim, a.dim, bias=False)

    def forward(self, x: Tensor, table: Tensor, cache: Cache | None) -> Tensor:
        """x (B, T, dim): a whole sequence, or, with a cache, the one token that follows it."""
        heads = self.wqkv(x).unflatten(-1, (-1, self.head_dim))  # (B, T, 3 H, D)
        queries, keys = rotate(heads[:, :, : 2 * self.heads], table).chunk(2, dim=2)
        values = heads[:, :, 2 * self.heads :]
        attend = partial(attention, causal=True) if cache is None else cache.attend
        return self.wo(attend(queries, keys, values).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU, ``w2(silu(w1 x) * w3 x)``, two thirds of 4 dim wide, rounded up to ``multiple_of``."""

    def __init__(self, a: Architecture):
        super().__init__()
        width = math.ceil(8 * a.dim // 3 / a.multiple_of) * a.multiple_of
        self.w1 = nn.Linear(a.dim, width, bias=False)
        self.w2 = nn.Linear(width, a.dim, bias=False)
        self.w3 = nn.Linear(a.dim, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to the same."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """One layer: attention and feed-forward, each normalised before and added to its input."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.attention, self.feed_forward = Attention(a), FeedForward(a)
        self.attention_norm, self.ffn_norm = (nn.RMSNorm(a.dim, eps=a.norm_eps) for _ in range(2))
        self.dropout = nn.Dropout(a.dropout)

    def forward(self, x: Tensor, table: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, dim) to the same."""
        x = x + self.dropout(self.attention(self.attention_norm(x), table, cache))
        return x + self.dropout(self.feed_forward(self.ffn_norm(x)))


class Model(ARModel):
    """LlamaGen's class-conditional transformer.

    Dropout, and nothing else, depends on ``train()`` and ``eval()``. Labels are never dropped here:
    training passes the unconditional label itself.
    """

    table: Tensor

    def __init__(self, architecture: Architecture, tokenizer: Tokenizer, num_classes: int):
        """Untrained weights: normal with deviation 0.02, and a zero output layer, as the official code's.

        Raises:
            CCAError: the tokenizer's codes are not a square grid.
        """
        super().__init__()
        a = architecture
        self.num_classes, self.num_tokens = num_classes, tokenizer.num_tokens
        self.vocab_size = tokenizer.vocab_size
        side = math.isqrt(self.num_tokens)
        if side**2 != self.num_tokens:
            raise CCAError(f"llamagen needs a square grid of codes; the tokenizer makes {self.num_tokens}")
        self.cls_embedding = nn.ModuleDict({"embedding_table": nn.Embedding(num_classes + 1, a.dim)})
        self.tok_embeddings = nn.Embedding(self.vocab_size, a.dim)
        self.dropout = nn.Dropout(a.dropout)
        self.layers = nn.ModuleList(Block(a) for _ in range(a.layers))
        self.norm = nn.RMSNorm(a.dim, eps=a.norm_eps)
        self.output = nn.Linear(a.dim, self.vocab_size, bias=False)
        size = torch.empty(self.num_tokens, a.head_dim // 2, 2, device="meta")
        self.register_buffer("table", size, persistent=False)  # `checkpoints.built` may refuse it
        with torch.device("cpu"):  # on the meta device torch imports its compiler for it
            table = rotation_table(side, a.head_dim, a.rope_base)
        self.table = table.to(self.output.weight.device)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.output.weight)

    @property
    def trunk(self) -> nn.ModuleList:
        """The transformer's layers."""
        return self.layers

    @property
    def num_steps(self) -> int:
        """One step a token."""
        return self.num_tokens

    def token_log_probs(self, codes: Tensor, labels: Tensor) -> Tensor:
        """log p(code_t | earlier codes, label): (B, T) float32, from codes (B, T) and labels (B,).

        Raises:
            CCAError: codes or labels of a wrong shape or out of range.
        """
        check_integers(codes, "codes", (len(labels), self.num_tokens), self.vocab_size)
        check_integers(labels, "labels", (len(codes),), self.num_classes + 1)
        inputs = torch.cat([self._embed_labels(labels), self.tok_embeddings(codes[:, :-1])], dim=1)
        logits = self._logits(inputs, self.table)
        return -F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view_as(codes)

    def sample(self, labels: Tensor, guidance: Guidance, uniforms: Tensor) -> Tensor:
        """Draw codes (B, T) int64 for labels (B,) from ``uniforms`` (B, T) in [0, 1).

        With guidance, the batch of every step is [conditional half; unconditional half]. Without (the
        scales of all steps are 0) it is the conditional half alone.

        Raises:
            CCAError: labels or uniforms of a wrong shape, labels out of range, or last logits not finite.
        """
        check_integers(labels, "labels", (len(uniforms),), self.num_classes + 1)
        check_shape(uniforms, "uniforms", (len(labels), self.num_tokens))
        scales = guidance.scales(self.num_steps)
        halves = 2 if any(scales) else 1
        codes = labels.new_empty(uniforms.shape, dtype=torch.int64)
        with torch.inference_mode():
            caches = [Cache(self.num_tokens, fused=labels.device.type != "cpu") for _ in self.layers]
            unconditional = torch.full_like(labels, self.num_classes)
            inputs = self._embed_labels(torch.cat([labels, unconditional][:halves]))
            for step, scale in enumerate(scales):
                logits = self._logits(inputs, self.table[step : step + 1], caches).squeeze(1)
                if halves == 2:
                    conditional, unconditioned = logits.chunk(2)
                    logits = guide(conditional, unconditioned, scale)
                codes[:, step] = tokens = choose_tokens(logits, uniforms[:, step], guidance)
                inputs = self.tok_embeddings(tokens.repeat(halves).unsqueeze(1))
            check_finite_logits(logits, "llamagen")
        return codes

    def _embed_labels(self, labels: Tensor) -> Tensor:
        """Class tokens (B, 1, dim) of labels (B,)."""
        return self.cls_embedding["embedding_table"](labels.unsqueeze(1))

    def _logits(self, inputs: Tensor, table: Tensor, caches: list[Cache] | None = None) -> Tensor:
        """Logits (B, T, V) float32 of embedded inputs (B, T, dim); with caches, T = 1."""
        x = self.dropout(inputs)
        for layer, cache in zip(self.layers, caches or repeat(None, len(self.layers)), strict=True):
            x = layer(x, table, cache)
        return self.output(self.norm(x)).float()
