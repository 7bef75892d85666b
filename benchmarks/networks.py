"""The networks that benchmarks measure: ours, untrained, and the official ones with the same weights.

Official code is imported, by its own names, from a checkout of thu-ml/CCA with its submodules.
"""

import argparse
import site
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from cca import models, tokenizers

CLASSES = 1000
SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)  # VAR's at 256 x 256
HEAD = 64  # numbers of an attention head
DROPOUTS = ("token_dropout_p", "resid_dropout_p", "ffn_dropout_p", "attn_dropout_p")


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Sizes of the networks; LlamaGen-B and VAR-d16, but for what is given."""
    parser.add_argument("--dim", type=int, help=f"{HEAD} a head [LlamaGen: 768, VAR: {HEAD} a layer]")
    parser.add_argument("--layers", type=int, help="[LlamaGen: 12, VAR: 16]")
    parser.add_argument("--side", type=int, default=24, help="LlamaGen's codes a side [24]")
    parser.add_argument("--vocab", type=int, help="[LlamaGen: 16384, VAR: 4096]")
    parser.add_argument(
        "--multiple-of", type=int, default=256, help="LlamaGen's feed-forward width is one [256]"
    )


def build(family: str, sizes: argparse.Namespace) -> models.ARModel:
    """Untrained, of these sizes: what starts with zeros, or almost, is drawn, so that all weights matter."""
    torch.manual_seed(0)
    return {"llamagen": llamagen, "var": var}[family](sizes)


def llamagen(sizes: argparse.Namespace) -> models.ARModel:
    """LlamaGen, which needs no more of a tokenizer than how many codes there are."""
    dim, layers = sizes.dim or 768, sizes.layers or 12
    codes = SimpleNamespace(num_tokens=sizes.side**2, vocab_size=sizes.vocab or 16384)
    shape = {"dim": dim, "layers": layers, "heads": dim // HEAD, "multiple_of": sizes.multiple_of}
    model = models.build("llamagen", shape, codes, CLASSES)
    nn.init.normal_(model.output.weight, std=0.02)
    return model


def var(sizes: argparse.Namespace) -> models.ARModel:
    """VAR, with the quantiser of a tokenizer that is small otherwise."""
    layers = sizes.layers or 16
    dim = sizes.dim or HEAD * layers
    coder = {"image_size": 32, "channels": 3, "channel_multipliers": [1, 1], "blocks": 1, "base_channels": 32}
    codebook = {"z_channels": 32, "codebook_size": sizes.vocab or 4096, "patch_sizes": SCALES}
    shape = {"depth": layers, "dim": dim, "heads": dim // HEAD}
    model = models.build("var", shape, tokenizers.build("multiscale", coder | codebook), CLASSES)
    for layer in (model.head, *(block.ada_lin[1] for block in model.trunk)):
        nn.init.normal_(layer.weight, std=0.02)
    return model


def official_llamagen(model: models.ARModel, checkout: Path) -> nn.Module:
    """LlamaGen's own transformer with the model's weights, without dropout."""
    site.addsitedir(str(checkout / "LlamaGen"))
    from autoregressive.models.gpt import ModelArgs, Transformer

    width, dim = model.layers[0].feed_forward.w1.weight.shape
    sizes = {"dim": dim, "n_layer": len(model.layers), "n_head": dim // HEAD, "multiple_of": width}
    codes = {"vocab_size": model.vocab_size, "block_size": model.num_tokens, "num_classes": model.num_classes}
    rates = dict.fromkeys(DROPOUTS, 0.0)
    labels = {"class_dropout_prob": 1e-5, "cls_token_num": 1}  # 0 would leave out the unconditional label
    other = Transformer(ModelArgs(**sizes, **codes, **rates, **labels))
    other.load_state_dict(model.state_dict())
    return other


def official_var(model: models.ARModel, checkout: Path) -> nn.Module:
    """VAR's own transformer with the model's weights and quantiser, without stochastic depth."""
    site.addsitedir(str(checkout / "VAR"))
    from models import VAR, VQVAE

    made = {"vocab_size": model.vocab_size, "z_channels": model.word_embed.in_features, "ch": 32}
    coder = VQVAE(**made, v_patch_nums=SCALES)
    coder.quantize.load_state_dict(model.quantizer.state_dict(), strict=False)  # theirs counts uses as well
    a = model.architecture
    sizes = {"depth": a.depth, "embed_dim": a.dim, "num_heads": a.heads, "patch_nums": SCALES}
    other = VAR(coder, num_classes=model.num_classes, **sizes, cond_drop_rate=0, attn_l2_norm=True)
    other.load_state_dict(model.state_dict())
    return other
