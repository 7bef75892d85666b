"""VAR's tokenizer, ``models/vqvae.py`` of FoundationVision/VAR at 78b9539."""

from torch import Tensor

from cca.tokenizers.multiscale import Model

SIZES = {
    "vae_ch160v4096z32": {
        "channels": 3,
        "base_channels": 160,
        "channel_multipliers": (1, 1, 2, 2, 4),
        "z_channels": 32,
        "codebook_size": 4096,
    }
}


def optional(tokenizer: Model) -> dict[str, tuple[int, ...]]:
    """The official training's counts of the codes' use."""
    return {"quantize.ema_vocab_hit_SV": (len(tokenizer.quantize.patch_sizes), tokenizer.vocab_size)}


def constants(tokenizer: Model) -> dict[str, Tensor]:
    """None."""
    return {}


def looks_like(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """A tokenizer by its codebook."""
    if "encoder.down.0.block.0.conv1.weight" not in shapes:
        return None
    size, dim = shapes.get("quantize.embedding.weight", (0, 0))
    return f"a tokenizer of VAR's kind multiscale ({size} codes of {dim} numbers)"
