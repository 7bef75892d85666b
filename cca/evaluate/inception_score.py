"""Inception Score (Salimans et al. 2016) as OpenAI's ADM suite computes it."""

import numpy as np
import torch
from torch import Tensor

from cca.errors import CCAError


def inception_score(logits: np.ndarray, split_size: int = 5000) -> float:
    """Mean over consecutive splits of exp(mean KL(p(y|x) || mean p(y))).

    The splits are ``split_size`` rows each IN THE ORDER GIVEN, the last one possibly shorter and
    weighted the same: class-sorted samples score far too low. Logarithms throughout, so probabilities
    that underflow do no harm.

    Args:
        logits: (N, C), for Inception without the bias of the last layer.
        split_size: rows of a split.

    Raises:
        CCAError: no samples, or logits that are NaN or infinite.
    """
    if not len(logits):
        raise CCAError("the Inception Score needs at least one sample")
    if not np.isfinite(logits).all():
        raise CCAError("logits are NaN or infinite: check the images and the extractor's weights")
    scores = []
    for start in range(0, len(logits), split_size):
        scores.append(float(divergences(logits[start : start + split_size]).mean().exp()))
    return float(np.mean(scores))


def divergences(logits: np.ndarray) -> Tensor:
    """KL(p(y|x) || mean p(y)) of the rows of a split (N, C): (N,) float64."""
    log_p = torch.from_numpy(np.asarray(logits)).to(torch.float64).log_softmax(dim=1)
    log_mean = log_p.logsumexp(dim=0) - np.log(len(log_p))
    return (log_p.exp() * (log_p - log_mean)).sum(dim=1)
