"""LlamaGen's tokenizer, ``tokenizer/tokenizer_image/vq_model.py`` of FoundationVision/LlamaGen at ce98ec4."""

from torch import Tensor

from cca.tokenizers.vq import Model

SIZES = {
    "VQ-16": {
        "channels": 3,
        "base_channels": 128,
        "channel_multipliers": (1, 1, 2, 2, 4),
        "z_channels": 256,
        "codebook_size": 16384,
        "codebook_dim": 8,
    }
}


def optional(tokenizer: Model) -> dict[str, tuple[int, ...]]:
    """The official training's memory of recent codes."""
    return {"quantize.codebook_used": (65536,)}


def constants(tokenizer: Model) -> dict[str, Tensor]:
    """None."""
    return {}


def looks_like(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """A tokenizer by its codebook."""
    if "encoder.conv_blocks.0.res.0.conv1.weight" not in shapes:
        return None
    size, dim = shapes.get("quantize.embedding.weight", (0, 0))
    return f"a tokenizer of LlamaGen's kind vq ({size} codes of {dim} numbers)"
