"""LlamaGen's GPT, ``autoregressive/models/gpt.py`` of FoundationVision/LlamaGen at ce98ec4.

The shapes of all weights are the same at 256 and at 384 pixels; only the table of positions tells them apart.
"""

from torch import Tensor

from cca.imports import count
from cca.models.llamagen import Model

SIZES = {
    "LlamaGen-B": {"dim": 768, "layers": 12, "heads": 12},
    "LlamaGen-L": {"dim": 1024, "layers": 24, "heads": 16},
    "LlamaGen-XL": {"dim": 1280, "layers": 36, "heads": 20},
    "LlamaGen-XXL": {"dim": 1536, "layers": 48, "heads": 24},
    "LlamaGen-3B": {"dim": 3200, "layers": 24, "heads": 32},
}


def optional(model: Model) -> dict[str, tuple[int, ...]]:
    """The table of rotary positions, which has one row more than is ever used."""
    rows, pairs, _ = model.table.shape
    return {"freqs_cis": (rows + 1, pairs, 2)}


def constants(model: Model) -> dict[str, Tensor]:
    """None."""
    return {}


def looks_like(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """The size by its width and layers."""
    if "layers.0.attention.wqkv.weight" not in shapes:
        return None
    dim = shapes["layers.0.attention.wqkv.weight"][-1]
    layers = count(shapes, r"layers\.(\d+)\.")
    names = [name for name, size in SIZES.items() if (size["dim"], size["layers"]) == (dim, layers)]
    return f"{names[0] if names else 'a LlamaGen'} (dim {dim}, {layers} layers)"
