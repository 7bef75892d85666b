"""Image tokenizers: images to codes and back, behind one small interface.

A kind of tokenizer is a module of this package with two names: ``Architecture`` (its `Settings`)
and ``Model`` (a `Tokenizer` built as ``Model(architecture)``).
"""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from cca import checkpoints, plugins


class Tokenizer(nn.Module, ABC):
    """A vector-quantised autoencoder of square images of ``image_size`` with ``channels``."""

    image_size: int
    channels: int
    num_tokens: int
    vocab_size: int

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to codes (B, T) int64."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, T) to images (B, C, H, W): floats, nominally in [-1, 1], unclamped."""

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One training pass: reconstructions (B, C, H, W) with straight-through gradients, the
        scalar loss of the quantiser (codebook and commitment terms), and the codes (B, T)."""

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """Weights of the decoder's last layer, at which gradients of several losses are balanced."""

    @abstractmethod
    def revive(self, images: Tensor, unused: np.ndarray, rng: np.random.Generator) -> None:
        """Move the codebook's ``unused`` entries (indices) onto random encoder outputs of ``images``."""


def build(kind: str, architecture: dict) -> Tokenizer:
    """An untrained tokenizer of ``kind``."""
    settings = plugins.configure("cca.tokenizers", kind, "Architecture", architecture)
    return plugins.load("cca.tokenizers", kind).Model(settings)


def load(path: Path) -> Tokenizer:
    """The tokenizer of a checkpoint, in eval mode.

    Raises:
        CCAError: a damaged file, or a checkpoint of something else.
    """
    state, metadata = checkpoints.read(path)
    kind, architecture = checkpoints.described(metadata, path, "kind", "architecture")
    return checkpoints.built(lambda: build(kind, architecture), state, path).eval()


def save(path: Path, tokenizer: Tokenizer, kind: str, architecture: dict) -> None:
    """Write a tokenizer so that `load` can build it, whatever becomes of the defaults of its kind."""
    settings = plugins.configure("cca.tokenizers", kind, "Architecture", architecture)
    metadata = {"kind": kind, "architecture": settings.model_dump(mode="json")}
    checkpoints.save(path, tokenizer, metadata)
