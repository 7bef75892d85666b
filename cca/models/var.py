"""VAR: a transformer that draws an image's codes scale by scale, all codes of a scale at once.

Names and shapes of the weights are those of FoundationVision/VAR (78b9539), ``models/var.py`` and
``basic_var.py``, so that its checkpoints load strictly: hence three persistent buffers,
``lvl_1L``, ``attn_bias_for_masking`` and each block's ``attn.zero_k_bias``, which hold nothing that
the sizes do not say. VAR-d16 is depth 16, dim 1024, 16 heads. The AdaLN layer that all blocks share in
the 512 x 512 model is not here. Shapes below: B images, K scales, L codes of all scales, n of
one or of all, V codes in the vocabulary, C = dim, H heads of D numbers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cca.decoding import choose_tokens
from cca.device import full_precision
from cca.errors import CCAError
from cca.guidance import Guidance, guide
from cca.models import ARModel
from cca.models._common import check_finite_logits, check_integers, check_shape
from cca.models._var_blocks import Architecture, Block, Cache, HeadNorm
from cca.tokenizers import Tokenizer, multiscale


def level_buffers(patch_sizes: Sequence[int]) -> dict[str, Tensor]:
    """The scale of each code (1, L), and the mask (1, 1, L, L) that hides finer scales, to add to logits."""
    level = torch.cat([torch.full((size**2,), scale) for scale, size in enumerate(patch_sizes)])
    hidden = torch.zeros(len(level), len(level)).masked_fill(level[:, None] < level, -torch.inf)
    return {"lvl_1L": level[None], "attn_bias_for_masking": hidden[None, None]}


class Model(ARModel):
    """VAR's class-conditional transformer.

    Stochastic depth follows ``train()`` and ``eval()``; nothing else does. Labels are never dropped here:
    training passes the unconditional label itself. The tokenizer's quantiser makes the inputs; it
    is no part of the model, which neither trains nor saves it, but follows it to another device or type.
    """

    attn_bias_for_masking: Tensor

    def __init__(self, architecture: Architecture, tokenizer: Tokenizer, num_classes: int):
        """Untrained weights, drawn as ``build_vae_var`` of the official code draws them.

        Raises:
            CCAError: the tokenizer has no scales.
        """
        super().__init__()
        if not isinstance(tokenizer, multiscale.Model):
            kind = type(tokenizer).__module__.rpartition(".")[2]
            raise CCAError(f"var needs a tokenizer of kind 'multiscale', not '{kind}'")
        a = self.architecture = architecture
        self.num_classes, self.num_tokens = num_classes, tokenizer.num_tokens
        self.vocab_size = tokenizer.vocab_size
        self._quantizer = (tokenizer.quantize,)  # in a tuple, so that it is no submodule
        self.spans = self.quantizer.spans
        first, sizes = self.spans[0].stop, [span.stop - span.start for span in self.spans]
        self.word_embed = nn.Linear(tokenizer.architecture.z_channels, a.dim)
        self.class_emb = nn.Embedding(num_classes + 1, a.dim)
        self.pos_start = nn.Parameter(torch.empty(1, first, a.dim))
        self.pos_1LC = nn.Parameter(torch.empty(1, self.num_tokens, a.dim))
        self.lvl_embed = nn.Embedding(len(sizes), a.dim)
        rates = (a.drop_path * index / max(a.depth - 1, 1) for index in range(a.depth))
        self.blocks = nn.ModuleList(Block(a, rate) for rate in rates)
        self.head_nm = HeadNorm(a)
        self.head = nn.Linear(a.dim, self.vocab_size)
        size = torch.empty(1, 1, self.num_tokens, self.num_tokens, device="meta")
        self.register_buffer("attn_bias_for_masking", size)  # `checkpoints.built` may refuse it
        with torch.device("cpu"):  # on the meta device torch imports its compiler for it
            buffers = level_buffers(tokenizer.quantize.patch_sizes)
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer.to(self.head.weight.device))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Official initial weights; blocks begin as almost the identity, the output layer as almost zero."""
        dim, depth = self.architecture.dim, len(self.blocks)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=(3 * dim) ** -0.5)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for position in (self.pos_start, self.pos_1LC):
            nn.init.trunc_normal_(position, std=(3 * dim) ** -0.5)
        self.head.weight *= 0.02
        block: Any = self.head_nm
        block.ada_lin[1].weight *= 0.5
        for block in self.blocks:
            block.attn.proj.weight /= math.sqrt(2 * depth)
            block.ffn.fc2.weight /= math.sqrt(2 * depth)
            block.ada_lin[1].weight[: 2 * dim] *= 1e-5  # the gates
            block.ada_lin[1].weight[2 * dim :] *= 0.5

    @property
    def trunk(self) -> nn.ModuleList:
        """The transformer's blocks."""
        return self.blocks

    @property
    def undecayed(self) -> frozenset[str]:
        """Embeddings of positions and scales, and attention's scales (VAR's train.py)."""
        kinds = ("pos_start", "pos_1LC", "lvl_embed.weight", "scale_mul_1H11")
        return frozenset(name for name, _ in self.named_parameters() if name.endswith(kinds))

    @property
    def quantizer(self) -> multiscale.Quantizer:
        """The tokenizer's, which turns codes into the inputs of the next scale."""
        return self._quantizer[0]

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> Self:  # what to(), cuda(), double() call
        self.quantizer._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def num_steps(self) -> int:
        """One step a scale."""
        return len(self.spans)

    def token_log_probs(self, codes: Tensor, labels: Tensor) -> Tensor:
        """log p(code | coarser scales, label) of every code: (B, L) float32, from codes (B, L), labels (B,).

        Raises:
            CCAError: codes or labels of a wrong shape or out of range.
        """
        check_integers(codes, "codes", (len(labels), self.num_tokens), self.vocab_size)
        check_integers(labels, "labels", (len(codes),), self.num_classes + 1)
        condition = self.class_emb(labels)
        inputs = [self._start(condition), self._embed(self.quantizer.teacher_inputs(codes))]
        x = torch.cat(inputs, dim=1) + self._positions()
        for block in self.blocks:
            x = block(x, condition, self.attn_bias_for_masking)
        logits = self._logits(x, condition)
        return -F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view_as(codes)

    def sample(self, labels: Tensor, guidance: Guidance, uniforms: Tensor) -> Tensor:
        """Draw codes (B, L) int64 for labels (B,) from ``uniforms`` (B, L) in [0, 1).

        With guidance, the batch of every step is [conditional half; unconditional half]. Without (the
        scales of all steps are 0) it is the conditional half alone.

        Raises:
            CCAError: labels or uniforms of a wrong shape or range; the model's last logits are not finite.
        """
        check_integers(labels, "labels", (len(uniforms),), self.num_classes + 1)
        check_shape(uniforms, "uniforms", (len(labels), self.num_tokens))
        scales = guidance.scales(self.num_steps)
        halves = 2 if any(scales) else 1
        codes = labels.new_empty(uniforms.shape, dtype=torch.int64)
        with torch.inference_mode():
            unconditional = torch.full_like(labels, self.num_classes)
            condition = self.class_emb(torch.cat([labels, unconditional][:halves]))
            modulations = self._modulations(condition)
            caches = [Cache(self.num_tokens) for _ in self.blocks]
            positions, inputs = self._positions(), self._start(condition)
            total: Tensor | float = 0.0
            for step, (span, scale) in enumerate(zip(self.spans, scales, strict=True)):
                x = inputs + positions[:, span]
                for block, modulation, cache in zip(self.blocks, modulations, caches, strict=True):
                    x = block(x, modulation, cache=cache)
                logits = self._logits(x, condition)
                if halves == 2:
                    conditional, unconditioned = logits.chunk(2)
                    logits = guide(conditional, unconditioned, scale)
                codes[:, span] = choose_tokens(logits, uniforms[:, span], guidance)
                if span.stop < self.num_tokens:
                    total = total + self.quantizer.spread(codes[:, span], step)
                    inputs = self._embed(self.quantizer.pool(total, step + 1)).repeat(halves, 1, 1)
            check_finite_logits(logits, "var")
        return codes

    def _start(self, condition: Tensor) -> Tensor:
        """Inputs of the first scale (B, n, C), from the class (B, C)."""
        return condition.unsqueeze(1) + self.pos_start

    def _embed(self, inputs: Tensor) -> Tensor:
        """The quantiser's inputs (B, n, Z) of a finer scale as (B, n, C), in float32 under autocast too."""
        with full_precision(inputs):
            return self.word_embed(inputs)

    def _positions(self) -> Tensor:
        """What tells positions and scales apart: (1, L, C)."""
        return self.lvl_embed(self.lvl_1L) + self.pos_1LC

    def _modulations(self, condition: Tensor) -> list[tuple[Tensor, ...]]:
        """Of every block, from the class (B, C)."""
        blocks: Iterable[Any] = self.blocks
        return [block.modulations(condition) for block in blocks]

    def _logits(self, x: Tensor, condition: Tensor) -> Tensor:
        """Logits (B, n, V) float32 of the last block's (B, n, C)."""
        return self.head(self.head_nm(x, condition)).float()
