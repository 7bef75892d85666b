"""VAR's transformer, ``models/var.py`` of FoundationVision/VAR at 78b9539."""

import torch
from torch import Tensor

from cca.imports import count
from cca.models.var import Model, level_buffers

SIZES = {f"VAR-d{depth}": {"depth": depth, "dim": 64 * depth, "heads": depth} for depth in (16, 20, 24, 30)}


def optional(model: Model) -> dict[str, tuple[int, ...]]:
    """None."""
    return {}


def constants(model: Model) -> dict[str, Tensor]:
    """The level of each code, what it must not see, and the keys' bias of zero."""
    dim = model.architecture.dim
    zeros = {f"blocks.{index}.attn.zero_k_bias": torch.zeros(dim) for index in range(len(model.blocks))}
    return level_buffers(model.quantizer.patch_sizes) | zeros


def looks_like(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """The size by its depth and width."""
    if "blocks.0.attn.mat_qkv.weight" not in shapes:
        return None
    dim = shapes["blocks.0.attn.mat_qkv.weight"][-1]
    depth = count(shapes, r"blocks\.(\d+)\.")
    names = [name for name, size in SIZES.items() if (size["dim"], size["depth"]) == (dim, depth)]
    return f"{names[0] if names else 'a VAR'} (depth {depth}, dim {dim})"
