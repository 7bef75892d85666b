"""What finetuning and scoring hold in a GPU's memory: weights, gradients, AdamW's state, activations."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cca.models import ARModel

FULL, HALF = 4, 2  # bytes of a number
GPU = 80e9


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU.

    Attributes:
        weights, gradients: float32, as autocast trains.
        optimiser: AdamW's two moments.
        copies: autocast's, of all weights in bfloat16 until the forward pass ends, sharded or not.
        activations: what one image's backward pass needs, both labels of its pair.
        checkpointed: the same if every layer's are computed again when they are needed.
        scored: what one image's forward pass needs for a time: a layer's activations, the logits.
    """

    weights: float
    gradients: float
    optimiser: float
    copies: float
    activations: float
    checkpointed: float
    scored: float

    def total(self, images: int, gpus: int = 1, checkpointing: bool = False) -> float:
        """Of so many images at a time, with weights, gradients and moments sharded over so many GPUs."""
        an_image = self.checkpointed if checkpointing else self.activations
        return (self.weights + self.gradients + self.optimiser) / gpus + self.copies + images * an_image

    def scoring(self, images: int) -> float:
        """Of so many images at a time, without gradients."""
        return self.weights + self.copies + images * self.scored

    def fits(self, gpus: int = 1, checkpointing: bool = False, room: float = GPU) -> int:
        """Images at a time that fit a GPU, a tenth of it kept free; 0 if none does."""
        an_image = self.checkpointed if checkpointing else self.activations
        return max(int((0.9 * room - self.total(0, gpus)) // an_image), 0)


def plan(model: ARModel) -> Memory:
    """The memory of finetuning ``model``, which is on the meta device."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    whole, layers, between = saved(model)
    checkpointed = whole - sum(layers) + max(layers) + between
    return Memory(
        weights=FULL * parameters,
        gradients=FULL * parameters,
        optimiser=2 * FULL * parameters,
        copies=HALF * parameters,
        activations=2 * (whole + logits(model)),
        checkpointed=2 * (checkpointed + logits(model)),
        scored=max(layers) + (HALF + 2 * FULL) * model.num_tokens * model.vocab_size,  # and log-probabilities
    )


def logits(model: ARModel) -> float:
    """Bytes of an image's logits beyond what `saved` counts: float32, and a gradient of their size."""
    return (2 * FULL - HALF) * model.num_tokens * model.vocab_size


def saved(model: ARModel) -> tuple[float, list[float], float]:
    """Bytes that autograd keeps of one image: in all, inside each layer, and of all layers' inputs.

    Counted on the meta device in float32, and halved but for tensors as wide as the layers' inputs: autocast
    computes products in bfloat16, while that between them and in normalisation may stay float32, which is
    counted for all. Attention's weights do not count: fused kernels keep none. Nor does a tensor that was
    counted, nor a weight.
    """
    seen = {id(weight) for weight in model.parameters()}
    kept: list[Tensor] = []  # alive, so that no id is given twice
    total, width = 0.0, 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal total
        base = tensor if tensor._base is None else tensor._base
        weights = tensor.shape[-2:] == (model.num_tokens, model.num_tokens)
        if id(base) not in seen and not weights:
            seen.add(id(base))
            kept.append(base)
            size = HALF if base.is_floating_point() and base.shape[-1:] != (width,) else base.element_size()
            total += base.numel() * size
        return tensor

    begun: dict[nn.Module, float] = {}
    inside: list[float] = []
    inputs: list[float] = []

    def enter(layer: nn.Module, given: tuple) -> None:
        nonlocal width
        begun[layer], width = total, given[0].shape[-1]
        inputs.append(given[0].numel() * FULL)

    def leave(layer: nn.Module, given: tuple, made: Tensor) -> None:
        inside.append(total - begun[layer])

    hooks = [layer.register_forward_pre_hook(enter) for layer in model.trunk]
    hooks += [layer.register_forward_hook(leave) for layer in model.trunk]
    codes = torch.empty(1, model.num_tokens, dtype=torch.int64, device="meta")
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model.log_prob(codes, codes[:, 0])
    finally:
        for hook in hooks:
            hook.remove()
    return total, inside, sum(inputs)
