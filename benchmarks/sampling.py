"""Time of drawing an image's codes, beside other implementations with the same weights, in one process.

The other is a plain loop that concatenates LlamaGen's keys and values at each token, or the official code of
LlamaGen or VAR. Both take turns, without and with guidance; ratios are of medians. Codes become no pixels
here: that costs the same for all.
"""

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import networks
import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor

from cca.device import pick
from cca.guidance import Guidance
from cca.models import ARModel
from cca.models.llamagen import Block, rotate
from cca.rng import sample_uniforms, seed_torch

Draw = Callable[[float], object]
"""Draws a batch at a guidance scale s."""


def ours(model: ARModel, labels: Tensor) -> Draw:
    """This project's."""
    uniforms = torch.from_numpy(sample_uniforms(0, range(len(labels)), model.num_tokens)).to(labels.device)
    return lambda scale: model.sample(labels, Guidance(scale=scale), uniforms)


def plain(model: ARModel, labels: Tensor) -> Draw:
    """A loop as it is usually written first, through the same weights: caches grow by `torch.cat`."""

    def attend(layer: Block, x: Tensor, table: Tensor, cache: list[Tensor]) -> Tensor:
        part = layer.attention
        heads = part.wqkv(layer.attention_norm(x)).unflatten(-1, (-1, part.head_dim))
        queries, keys, values = heads.chunk(3, dim=2)
        new = [rotate(keys, table).transpose(1, 2), values.transpose(1, 2)]
        cache[:] = (
            [torch.cat([old, more], dim=2) for old, more in zip(cache, new, strict=True)] if cache else new
        )
        queries = rotate(queries, table).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(queries, *cache)
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


def llamagen(model: ARModel, labels: Tensor, checkout: Path) -> Draw:
    """``generate`` of FoundationVision/LlamaGen."""
    other = networks.official_llamagen(model, checkout).to(labels.device).eval()
    from autoregressive.models.generate import generate

    return lambda scale: generate(other, labels, model.num_tokens, cfg_scale=scale + 1)


def var(model: ARModel, labels: Tensor, checkout: Path) -> Draw:
    """``autoregressive_infer_cfg`` of FoundationVision/VAR, up to the pixels."""
    other = networks.official_var(model, checkout).to(labels.device).eval()
    other.vae_proxy[0].fhat_to_img = lambda features: features
    return lambda scale: other.autoregressive_infer_cfg(len(labels), labels, cfg=scale)


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
    parser.add_argument("--official", type=Path, help="checkout of thu-ml/CCA, with submodules")
    networks.add_sizes(parser)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.against != "plain" and args.official is None:
        parser.error("official code wants --official")
    torch.set_num_threads(args.threads)
    device = pick()
    seed_torch("benchmark")
    model = networks.build("var" if args.against == "var" else "llamagen", args).to(device).eval()
    labels = torch.arange(args.batch, device=device) % networks.CLASSES
    if args.against == "plain":
        other = plain(model, labels)
    else:
        other = {"llamagen": llamagen, "var": var}[args.against](model, labels, args.official)
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
