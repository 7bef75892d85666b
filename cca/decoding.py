"""From logits and uniform numbers to tokens: temperature, top-k, top-p, inverse CDF."""

import torch
from torch import Tensor

from cca.guidance import Guidance

LOWEST_TEMPERATURE = 1e-5
"""Temperatures below count as this one, as in LlamaGen's ``autoregressive/models/generate.py``."""


def choose_tokens(logits: Tensor, uniforms: Tensor, guidance: Guidance) -> Tensor:
    """The token of each position at which the cumulative distribution first exceeds its uniform number.

    Temperature, then top-k, then top-p, then the softmax, in float32; the CDF is summed in float64.
    ``guidance.scale`` plays no part here. A token of probability zero is never chosen, not even at 0 or
    where a uniform number was rounded up to 1. Nothing is read back from the device.

    Args:
        logits: (B, ..., V), any floating type, left unchanged. NaN or +inf makes a row's choice meaningless.
        uniforms: (B, ...) in [0, 1).
        guidance: supplies ``temperature``, ``top_k`` and ``top_p``.

    Returns:
        (B, ...) int64, below V.
    """
    probabilities = keep_likely(logits.float(), guidance).softmax(dim=-1)
    cdf = probabilities.cumsum(dim=-1, dtype=torch.float64)
    total = cdf[..., -1:]
    threshold = torch.minimum(uniforms.unsqueeze(-1) * total, below(total))
    tokens = torch.searchsorted(cdf, threshold, right=True).squeeze(-1)
    return tokens.clamp(max=logits.shape[-1] - 1)  # only a row of NaN needs it


def keep_likely(logits: Tensor, guidance: Guidance) -> Tensor:
    """Logits (..., V) over the temperature, with -inf for the tokens that top-k or top-p leaves out.

    Top-k drops what is below the k-th largest logit, so tokens tied with it stay. Top-p keeps a token
    if the probability of all likelier ones is at most p: the first token that passes p is the last to
    stay. That is LlamaGen's rule (``generate.py``: drop where the descending cumulative sum exceeds p,
    shifted by one). VAR's (``models/helpers.py``: drop where the ascending cumulative sum is at
    most 1 - p) differs from it only where a sum equals p exactly. Tokens tied at the edge all
    stay here; the official codes keep those that their sort happens to put first.
    """
    if guidance.temperature != 1.0:
        highest = logits.amax(dim=-1, keepdim=True)  # subtracted, so that the division cannot overflow
        logits = (logits - highest) / max(guidance.temperature, LOWEST_TEMPERATURE)
    if 0 < guidance.top_k < logits.shape[-1]:
        edge = logits.topk(guidance.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < edge, -torch.inf)
    if guidance.top_p < 1.0:
        ordered = logits.sort(dim=-1, descending=True).values
        probabilities = ordered.softmax(dim=-1).double()
        likelier = probabilities.cumsum(dim=-1) - probabilities
        edge = ordered.masked_fill(likelier > guidance.top_p, torch.inf).amin(dim=-1, keepdim=True)
        logits = logits.masked_fill(logits < edge, -torch.inf)
    return logits


def below(values: Tensor) -> Tensor:
    """The next smaller floating-point numbers of positive ``values``."""
    return torch.nextafter(values, torch.zeros_like(values))
