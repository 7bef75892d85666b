"""Weights and inputs by a formula, for ours and for the official networks alike.

The arrays ``*.npz`` beside this file are what the official code gave to ``make_llamagen.py`` and
``make_var.py``. Networks are narrow, with the official structure, names, resolutions and lengths.
"""

import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

LLAMAGEN = {"dim": 64, "layers": 2, "heads": 2}
VAR = {"depth": 2, "dim": 128, "heads": 2}
VQ = {
    "image_size": 384,
    "channels": 3,
    "base_channels": 32,
    "channel_multipliers": (1, 1, 2, 2, 4),
    "z_channels": 64,
    "codebook_size": 256,
    "codebook_dim": 8,
}
VAE = {
    "image_size": 256,
    "channels": 3,
    "base_channels": 32,
    "channel_multipliers": (1, 1, 2, 2, 4),
    "z_channels": 32,
    "codebook_size": 256,
}
CLASSES = 1000
LABELS = (207, 980, CLASSES, 207)  # of a batch; the third is masked
NEGATIVES = (980, 5, CLASSES, 207)  # the next item's; the fourth's is its own
LAM, BETA = 30.0, 0.02
OBJECTIVES = ("cca", "dpo", "unlearn")


def waves(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-1, 1] that depend on a name and a shape only."""
    i = np.arange(1, np.prod(shape) + 1, dtype=np.float64)
    return torch.from_numpy(np.sin(0.37 * i * i + zlib.crc32(name.encode()) % 1000).reshape(shape)).float()


@torch.no_grad()
def fill(module: nn.Module, salt: str = "") -> nn.Module:
    """Give every parameter its values: sines, matrices scaled by their inputs; ``salt`` gives others."""
    for name, parameter in module.named_parameters():
        values = waves(salt + name, tuple(parameter.shape))
        if "scale_mul" in name:
            values = 1.5 + values
        elif parameter.dim() == 1:
            values = ("norm" in name and name.endswith("weight")) + 0.1 * values
        elif not any(part in name for part in ("embedding", "class_emb", "lvl_embed", "pos_")):
            values = values * (2 / parameter[0].numel()) ** 0.5
        parameter.copy_(values)
    return module.eval()


def digest(shapes: dict[str, tuple[int, ...]]) -> str:
    """SHA-256 of names and shapes."""
    return hashlib.sha256(
        json.dumps(sorted([name, list(shape)] for name, shape in shapes.items())).encode()
    ).hexdigest()


@contextmanager
def meta() -> Iterator[None]:
    """Networks made in this block take no memory; the official code asks two functions for real numbers."""
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        for function in ("linspace", "tensor"):
            patch.setattr(torch, function, partial(getattr(torch, function), device="cpu"))
        yield


def write_keys(networks: dict[str, nn.Module]) -> None:
    """Add digests of the networks' names and shapes to ``keys.json``."""
    path = Path(__file__).with_name("keys.json")
    known = json.loads(path.read_text()) if path.is_file() else {}
    for name, network in networks.items():
        known[name] = digest({key: tuple(tensor.shape) for key, tensor in network.state_dict().items()})
    path.write_text(json.dumps(known, indent=2) + "\n")


def codes(name: str, count: int, length: int, vocabulary: int) -> Tensor:
    """Codes (count, length) that depend on a name only."""
    return ((waves(name, (count, length)) + 1) / 2 * (vocabulary - 1)).round().long()


def picture(size: int) -> Tensor:
    """An image (1, 3, size, size) in [-1, 1], smooth and rough."""
    y, x = torch.meshgrid(*[torch.linspace(-3, 3, size, dtype=torch.float64)] * 2, indexing="ij")
    smooth = torch.stack([torch.sin(x + y * k) * torch.cos(y - x * k) for k in (1, 2, 3)])
    return (0.7 * smooth.float() + 0.3 * waves("picture", (3, size, size))).unsqueeze(0)


def photograph(height: int, width: int) -> np.ndarray:
    """An image uint8 (height, width, 3)."""
    pixels = picture(max(height, width))[0, :, :height, :width].permute(1, 2, 0)
    return pixels.mul(127.5).add(127.5).round().to(torch.uint8).numpy()


def gradients(module: nn.Module) -> np.ndarray:
    """Each parameter's gradient as two numbers: its norm, and its product with waves of that norm's size."""
    rows = []
    for name, parameter in sorted(module.named_parameters()):
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        direction = waves(f"direction {name}", tuple(parameter.shape))
        rows.append([gradient.norm().item(), (gradient * direction).sum().item() / direction.norm().item()])
    return np.array(rows)


@pytest.fixture
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Reads the arrays of one of the files beside this one."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(Path(__file__).with_name(f"{name}.npz")) as arrays:
            return dict(arrays)

    return read


@pytest.fixture
def formula() -> ModuleType:
    """This module, for tests that are no package."""
    return sys.modules[__name__]
