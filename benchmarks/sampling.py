"""Time of drawing an image's codes, beside other implementations with the same weights, in one process.

The other is a plain loop that concatenates its keys and values at each token, or the official code of
LlamaGen or VAR, whose checkout is on PYTHONPATH. Both take turns, without and with guidance; ratios are
of medians. Codes become no pixels here: that costs the same for all.
"""

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor

from cca import models, tokenizers
from cca.guidance import Guidance
from cca.models import ARModel, llamagen, var
from cca.rng import sample_uniforms, seed_torch

Draw = Callable[[float], object]
"""Draws a batch at a guidance scale s."""

CLASSES = 1000
SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)  # VAR's


def ours(model: ARModel, labels: Tensor) -> Draw:
    """This project's."""
    uniforms = torch.from_numpy(sample_uniforms(0, range(len(labels)), model.num_tokens)).to(labels.device)
    return lambda scale: model.sample(labels, Guidance(scale=scale), uniforms)


def plain(model: llamagen.Model, labels: Tensor) -> Draw:
    """A loop as it is usually written first, through the same weights: caches grow by `torch.cat`."""

    def attend(layer: llamagen.Block, x: Tensor, table: Tensor, cache: list[Tensor]) -> Tensor:
        part = layer.attention
        heads = part.wqkv(layer.attention_norm(x)).unflatten(-1, (-1, part.head_dim))
        queries, keys, values = heads.split([part.heads, part.kv_heads, part.kv_heads], dim=2)
        new = [llamagen.rotate(keys, table).transpose(1, 2), values.transpose(1, 2)]
        cache[:] = (
            [torch.cat([old, more], dim=2) for old, more in zip(cache, new, strict=True)] if cache else new
        )
        queries = llamagen.rotate(queries, table).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(queries, *cache, enable_gqa=part.kv_heads < part.heads)
        return part.wo(mixed.transpose(1, 2).flatten(2))

    @torch.inference_mode()
    def draw(scale: float) -> Tensor:
        both = torch.cat([labels, torch.full_like(labels, model.num_classes)]) if scale else labels
        x = model.cls_embedding["embedding_table"](both).unsqueeze(1)
        caches: list[list[Tensor]] = [[] for _ in model.layers]
        tokens = []
        for step in range(model.num_tokens):
            for layer, cache in zip(model.layers, caches, strict=True):
                x = x + attend(layer, x, model.table[step : step + 1], cache)
                x = x + layer.feed_forward(layer.ffn_norm(x))
            logits = model.output(model.norm(x)).squeeze(1)
            if scale:
                conditional, unconditional = logits.chunk(2)
                logits = conditional + scale * (conditional - unconditional)
            tokens.append(torch.multinomial(logits.softmax(dim=-1), 1))
            x = model.tok_embeddings(tokens[-1].repeat(2, 1) if scale else tokens[-1])
        return torch.cat(tokens, dim=1)

    return draw


def official_llamagen(model: ARModel, labels: Tensor, args: argparse.Namespace) -> Draw:
    """``generate`` of FoundationVision/LlamaGen."""
    from autoregressive.models.generate import generate
    from autoregressive.models.gpt import ModelArgs, Transformer

    sizes = {"dim": args.dim, "n_layer": args.layers, "n_head": args.dim // 64}
    codes = {"vocab_size": model.vocab_size, "block_size": model.num_tokens, "num_classes": model.num_classes}
    other = Transformer(ModelArgs(**sizes, **codes, multiple_of=args.multiple_of)).to(labels.device).eval()
    other.load_state_dict(model.state_dict())
    return lambda scale: generate(other, labels, model.num_tokens, cfg_scale=scale + 1)


def official_var(model: var.Model, labels: Tensor, args: argparse.Namespace) -> Draw:
    """``autoregressive_infer_cfg`` of FoundationVision/VAR, up to the pixels."""
    from models import build_vae_var

    made = {"V": model.vocab_size, "Cvae": model.word_embed.in_features, "ch": 32, "patch_nums": SCALES}
    coder, other = build_vae_var(labels.device, **made, num_classes=model.num_classes, depth=args.layers)
    coder.quantize.load_state_dict(model.quantizer.state_dict(), strict=False)  # theirs counts uses as well
    other.load_state_dict(model.state_dict())
    other.eval()
    other.vae_proxy[0].fhat_to_img = lambda features: features
    return lambda scale: other.autoregressive_infer_cfg(len(labels), labels, cfg=scale)


def build_llamagen(args: argparse.Namespace) -> ARModel:
    """Untrained, but for the output layer, which official code starts with zeros."""
    grid = {"image_size": 2 * args.side, "channels": 3, "channel_multipliers": [1, 1], "blocks": 1}
    coder = {"base_channels": 32, "z_channels": 8, "codebook_size": args.vocab, "codebook_dim": 8}
    tokenizer = tokenizers.build("vq", grid | coder)
    sizes = {"dim": args.dim, "layers": args.layers, "heads": args.dim // 64, "multiple_of": args.multiple_of}
    model = models.build("llamagen", sizes, tokenizer, CLASSES)
    torch.nn.init.normal_(model.output.weight, std=0.02)
    return model


def build_var(args: argparse.Namespace) -> ARModel:
    """Untrained; VAR's own scales, whose finest has 16 x 16 codes."""
    grid = {"image_size": 32, "channels": 3, "channel_multipliers": [1, 1], "blocks": 1}
    coder = {"base_channels": 32, "z_channels": 32, "codebook_size": args.vocab}
    tokenizer = tokenizers.build("multiscale", grid | coder | {"patch_sizes": SCALES})
    sizes = {"depth": args.layers, "dim": 64 * args.layers, "heads": args.layers}
    return models.build("var", sizes, tokenizer, CLASSES)


Seconds = dict[tuple[str, float], list[tuple[float, float]]]
"""By method and scale, of each turn: the wall's and the processor's, which other programs disturb less."""


def measure(draws: dict[str, Draw], scales: list[float], repeats: int) -> Seconds:
    """Turn by turn, after one turn that is not counted."""
    seconds: Seconds = {(name, scale): [] for name in draws for scale in scales}
    for turn in range(repeats + 1):
        for (name, scale), times in seconds.items():
            begun = time.perf_counter(), time.process_time()
            draws[name](scale)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("against", choices=["plain", "llamagen", "var"])
    parser.add_argument("--dim", type=int, default=256, help="LlamaGen's; 64 a head")
    parser.add_argument("--layers", type=int, default=5, help="VAR's dim is 64 times as much")
    parser.add_argument("--side", type=int, default=8, help="LlamaGen's: codes a side")
    parser.add_argument("--vocab", type=int, default=512)
    parser.add_argument("--multiple-of", type=int, default=64, help="LlamaGen's: of the feed-forward width")
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seed_torch("benchmark")
    model = (build_var if args.against == "var" else build_llamagen)(args).to(device).eval()
    labels = torch.arange(args.batch, device=device) % CLASSES
    if args.against == "plain":
        other = plain(model, labels)
    else:
        official = {"llamagen": official_llamagen, "var": official_var}[args.against]
        other = official(model, labels, args)
    draws = {"ours": ours(model, labels), args.against: other}
    seconds = measure(draws, [0.0, args.scale], args.repeats)
    machine = platform.processor() or platform.machine()
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    print(f"{machine}, {device}, {args.threads} threads, torch {torch.__version__}")
    print(f"{millions:.2f} million parameters, {model.num_tokens} codes, {args.batch} images together\n")
    rows = []
    for scale in (0.0, args.scale):
        wall, cpu = (
            {name: 1000 * median(turn[kind] for turn in seconds[name, scale]) / args.batch for name in draws}
            for kind in (0, 1)
        )
        ratios = [times[args.against] / times["ours"] for times in (wall, cpu)]
        rows.append([f"s = {scale:g}", *wall.values(), *ratios])
    header = ["", *(f"{name}, ms an image" for name in draws), "ratio", "of CPU time"]
    print(tabulate(rows, header, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
