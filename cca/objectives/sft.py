"""Supervised finetuning: more training on the positives, which tells more training from contrast."""

from torch import Tensor


def loss(g_pos: Tensor, g_neg: Tensor, positive_pair: Tensor) -> Tensor:
    """``-g_pos``, the negative log-likelihood but for a constant: (B,).

    The second label plays no part, so a masked pair counts once, as an image whose label was dropped does in
    pretraining. (CCA and unlearning count it twice.)
    """
    return -g_pos
