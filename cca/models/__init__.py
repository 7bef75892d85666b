"""Class-conditional autoregressive models over an image's codes, behind one small interface.

A family is a module of this package with two names: ``Architecture`` (its `Settings`) and
``Model`` (an `ARModel` built as ``Model(architecture, tokenizer, num_classes)``).
"""

from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cca import checkpoints, plugins
from cca.errors import CCAError
from cca.guidance import Guidance
from cca.tokenizers import Tokenizer


class ARModel(nn.Module, ABC):
    """p(codes | label) of images with ``num_tokens`` codes below ``vocab_size``.

    Labels are integers below ``num_classes``; the label ``num_classes`` is the unconditional one.
    """

    num_classes: int
    num_tokens: int
    vocab_size: int

    @abstractmethod
    def token_log_probs(self, codes: Tensor, labels: Tensor) -> Tensor:
        """log p(code_t | earlier codes, label) of every token, teacher-forced, in one forward pass.

        Args:
            codes: (B, T) int64.
            labels: (B,) int64.

        Returns:
            (B, T) float32.
        """

    @abstractmethod
    def sample(self, labels: Tensor, guidance: Guidance, uniforms: Tensor) -> Tensor:
        """Draw codes (B, T) int64 by inverse CDF from ``uniforms`` (B, T) in [0, 1), KV-cached.

        With ``guidance.scale == 0`` only the conditional half is ever computed.
        """

    @property
    @abstractmethod
    def trunk(self) -> nn.ModuleList:
        """The layers that most of the parameters, time and memory are in."""

    @property
    def undecayed(self) -> frozenset[str]:
        """Names of parameters of two or more dimensions that weight decay leaves alone all the same."""
        return frozenset()

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Decoding steps of one image: tokens (next token) or scales (next scale)."""

    def log_prob(self, codes: Tensor, labels: Tensor) -> Tensor:
        """log p(codes | label), the SUM over an image's tokens: (B,)."""
        return self.token_log_probs(codes, labels).sum(dim=1)

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """`log_prob`, by the name under which torch wraps modules."""
        return self.log_prob(codes, labels)

    def checkpoint_activations(self) -> None:
        """Keep the inputs of layers only; what is inside them is computed again in the backward pass."""
        for layer in self.trunk:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def build(family: str, architecture: dict, tokenizer: Tokenizer, num_classes: int) -> ARModel:
    """An untrained model of ``family`` for the codes of ``tokenizer``."""
    settings = plugins.configure("cca.models", family, "Architecture", architecture)
    return plugins.load("cca.models", family).Model(settings, tokenizer, num_classes)


def load(path: Path, tokenizer: Tokenizer) -> ARModel:
    """The model of a checkpoint over the codes of ``tokenizer``, in eval mode.

    Raises:
        CCAError: a damaged file, a checkpoint of something else, or of a model of another tokenizer's codes.
    """
    state, metadata = checkpoints.read(path)
    family, architecture, num_classes, trained_with = checkpoints.described(
        metadata, path, "family", "architecture", "num_classes", "tokenizer"
    )
    if trained_with != checkpoints.identity(tokenizer):
        raise CCAError(f"{path}: a model of another tokenizer's codes; give the tokenizer of its training")
    model = checkpoints.built(lambda: build(family, architecture, tokenizer, num_classes), state, path)
    return model.eval()


def save(path: Path, model: ARModel, tokenizer: Tokenizer, family: str, architecture: dict) -> None:
    """Write a model so that `load` can build it, whatever becomes of the defaults of its family."""
    settings = plugins.configure("cca.models", family, "Architecture", architecture)
    metadata = {
        "family": family,
        "architecture": settings.model_dump(mode="json"),
        "num_classes": model.num_classes,
        "tokenizer": checkpoints.identity(tokenizer),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    checkpoints.save(path, model, metadata)
