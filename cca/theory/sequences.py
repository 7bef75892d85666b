"""All sequences of a few tokens: joint log-probabilities from those of each next token, and back.

Sequences are numbered like the digits of a number, first token first: N = V ** L of them.
"""

import torch
from torch import Tensor

from cca.guidance import guide


def chain(next_token: list[Tensor]) -> Tensor:
    """Log-probabilities (..., N) of sequences, from logits (..., V ** t, V) at each position t."""
    joint = next_token[0].new_zeros(1)
    for logits in next_token:
        joint = (joint[..., None] + logits.log_softmax(dim=-1)).flatten(start_dim=-2)
    return joint


def unchain(joint: Tensor, tokens: int) -> list[Tensor]:
    """Log-probabilities (..., V ** t, V) of each next token, from those of sequences (..., N)."""
    next_token = []
    while joint.shape[-1] > 1:
        joint = joint.unflatten(-1, (-1, tokens))
        next_token.append(joint.log_softmax(dim=-1))
        joint = joint.logsumexp(dim=-1)
    return next_token[::-1]


def guided(conditional: Tensor, unconditional: Tensor, scale: Tensor | float, tokens: int) -> Tensor:
    """What sampling with classifier-free guidance draws: log-probabilities (W, K, N).

    Each next token's logits are guided and normalised on their own, as models are decoded. The arguments are
    log-probabilities of sequences, (W, K, N) and (W, 1, N); the scale is one for all or (W,).
    """
    scales = torch.as_tensor(scale, dtype=conditional.dtype).reshape(-1, 1, 1, 1)
    pairs = zip(unchain(conditional, tokens), unchain(unconditional, tokens), strict=True)
    return chain([guide(one, other, scales) for one, other in pairs])
