"""What tokenizers do with a codebook: find the nearest entry, hold codes against it, draw vectors for it."""

import numpy as np
import torch
from torch import Tensor

from cca.device import full_precision
from cca.errors import CCAError

LOOKUP_ELEMENTS = 2**25
"""Distances that `nearest` holds at a time: 128 MiB of float32."""


@torch.no_grad()
def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index of the entry nearest to each vector: the lowest |e|² - 2 v·e, in float32 and bounded memory.

    Args:
        vectors: (N, D).
        codebook: (V, D).

    Returns:
        (N,) int64; the first of entries that are equally near.
    """
    with full_precision(vectors):
        vectors, codebook = vectors.float(), codebook.float()
        squares = codebook.square().sum(dim=1)
        parts = vectors.split(max(1, LOOKUP_ELEMENTS // len(codebook)))
        return torch.cat([torch.addmm(squares, part, codebook.T, alpha=-2).argmin(dim=1) for part in parts])


def check_codes(codes: Tensor, num_tokens: int, vocab_size: int) -> None:
    """Raise a `CCAError` unless ``codes`` are (B, num_tokens) integers in 0..vocab_size-1.

    On the meta device they have no values to check.
    """
    if codes.dim() != 2 or codes.shape[1] != num_tokens or codes.is_floating_point():
        raise CCAError(
            f"tokenizer: codes of shape {tuple(codes.shape)} and type {codes.dtype} where integers "
            f"(B, {num_tokens}) are wanted"
        )
    if codes.numel() and not codes.is_meta:
        lowest, highest = (int(extreme) for extreme in codes.aminmax())
        if lowest < 0 or highest >= vocab_size:
            wrong = lowest if lowest < 0 else highest
            raise CCAError(f"tokenizer: code {wrong} is out of range 0..{vocab_size - 1}")


def draw_vectors(vectors: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """``count`` random rows of ``vectors`` (N, D), none twice unless there are too few: (count, D)."""
    rows = rng.choice(len(vectors), size=count, replace=len(vectors) < count)
    return vectors[torch.from_numpy(rows).to(vectors.device)]
