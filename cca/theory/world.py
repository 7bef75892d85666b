"""Worlds so small that every probability is a number in a table.

A batch of W worlds has K labels and N = V ** L sequences of L tokens, V kinds of them. All is float64.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cca.rng import generator
from cca.theory.sequences import chain


@dataclass(frozen=True)
class Worlds:
    """The true distribution of each world, which is also what the pretrained model phi says."""

    labels: Tensor  # log p(c), (W, K)
    conditional: Tensor  # log p(x|c), (W, K, N)
    tokens: int  # V

    @property
    def marginal(self) -> Tensor:
        """log p(x): (W, 1, N)."""
        return (self.labels[..., None] + self.conditional).logsumexp(dim=1, keepdim=True)

    @property
    def ratio(self) -> Tensor:
        """log p(x|c)/p(x), which is also log p(x,c)/(p(x)p(c)): (W, K, N)."""
        return self.conditional - self.marginal

    @property
    def information(self) -> Tensor:
        """Mutual information of sequence and label, in nats: (W,)."""
        return self.mean(self.conditional, self.ratio)

    def mean(self, log_prob: Tensor, values: Tensor) -> Tensor:
        """Expectation of values (W, K, N) over c ~ p(c) and x ~ ``log_prob`` (W, K or 1, N): (W,)."""
        return (self.labels.exp()[..., None] * log_prob.exp() * values).sum(dim=(1, 2))

    def target(self, scale: Tensor | float) -> Tensor:
        """log of p(x|c) [p(x|c)/p(x)]^s, normalised: (W, K, N).

        The paper's target at guidance scale s, one for all worlds or (W,).
        """
        scale = torch.as_tensor(scale, dtype=torch.float64).reshape(-1, 1, 1)
        return (self.conditional + scale * self.ratio).log_softmax(dim=-1)


def draw(seeds: range, tokens: int, length: int, labels: int, informativeness: list[float]) -> Worlds:
    """One random world for each informativeness and seed, in that order.

    The logits of each next token are u + a v, standard normal numbers of which u belong to a prefix and v to
    a prefix and a label; a is the informativeness. At 0, sequences tell nothing about labels. The numbers do
    not depend on a, so that worlds of one seed differ in it alone. The labels' logits are standard normal.
    """
    drawn = []
    for degree in informativeness:
        for seed in seeds:
            normal = generator("theory", seed).standard_normal
            shapes = [(tokens**position, tokens) for position in range(length)]
            label = normal(labels)
            drawn.append([label, *(normal(shape) + degree * normal((labels, *shape)) for shape in shapes)])
    first, *next_token = [torch.from_numpy(np.stack(arrays)) for arrays in zip(*drawn, strict=True)]
    return Worlds(first.log_softmax(dim=-1), chain(next_token), tokens)
