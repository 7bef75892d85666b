"""What sampling costs without and with guidance, measured turn by turn in one process: a fair ratio."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from cca import models, tokenizers
from cca.device import Precision, autocast, pick
from cca.files import write_json
from cca.guidance import Guidance
from cca.models import ARModel
from cca.rng import sample_uniforms
from cca.settings import Settings


class Cost(Settings):
    """How the cost of sampling is measured."""

    batch_size: int = Field(default=250, ge=1, description="images drawn together")
    repetitions: int = Field(
        default=5, ge=1, description="batches without and batches with guidance, in turn"
    )
    scale: float = Field(default=1.0, gt=0, description="of guidance; the cost is the same for any")


class CostSettings(Cost):
    """The same for one model."""

    guidance: Guidance = Field(default=Guidance(), description="the model's; its scale plays no part")
    precision: Precision = Field(default="auto", description="the one in which the model is sampled")


def run(settings: CostSettings, *, model: Path, tokenizer: Path, out: Path) -> dict:
    """Stage ``cost``: time, forward passes and FLOPs of drawing an image's codes.

    Turning codes into pixels costs the same either way and is not part of it. Times are medians over
    repetitions, after one of each kind that is not counted; ``time_ratio`` is taken repetition
    by repetition.
    """
    device = pick()
    network = models.load(model, tokenizers.load(tokenizer)).to(device)
    index = np.arange(settings.batch_size)
    labels = torch.from_numpy(index % network.num_classes).to(device)
    uniforms = torch.from_numpy(sample_uniforms(0, index, network.num_tokens)).to(device)

    def draw(scale: float) -> None:
        with torch.inference_mode(), autocast(device, settings.precision):
            network.sample(labels, settings.guidance.model_copy(update={"scale": scale}), uniforms)
        if device.type == "cuda":
            torch.cuda.synchronize()

    scales = {"guidance_free": 0.0, "guided": settings.scale}
    result: dict = {
        name: {"s": scale, **count(network, partial(draw, scale), settings.batch_size)}
        for name, scale in scales.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in scales}
    for _ in tqdm(range(settings.repetitions), desc="cost"):
        for name, scale in scales.items():
            begun = perf_counter()
            draw(scale)
            seconds[name].append(perf_counter() - begun)
    for name, times in seconds.items():
        rates = [settings.batch_size / time for time in times]
        result[name] |= spread("images_per_second", rates)
    ratios = [slow / fast for fast, slow in zip(*seconds.values(), strict=True)]
    result["time_ratio"] = {"median": median(ratios), "min": min(ratios), "max": max(ratios)}
    result["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    write_json(out, result)
    return result["time_ratio"]


def spread(name: str, values: list[float]) -> dict[str, float]:
    """Median, least and greatest of ``values``."""
    return {name: median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def count(network: ARModel, draw: Callable[[], None], batch_size: int) -> dict[str, float]:
    """Forward passes and FLOPs an image of one call of ``draw``, which samples from ``network``.

    A forward pass uses a weight once, so an image has as many passes as the busiest part with weights
    of its own saw rows of a batch for it. FLOPs are those that torch counts: two for a multiplication and
    addition of a matrix product, a convolution, attention on a GPU. Attention on a CPU and choosing
    tokens are not among them.
    """
    from torch.utils.flop_counter import FlopCounterMode  # a second, and the tier file imports this module

    rows: dict[torch.nn.Module, int] = {}

    def note(part: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rows[part] = rows.get(part, 0) + len(inputs[0])

    parts = [part for part in network.modules() if next(part.parameters(recurse=False), None) is not None]
    hooks = [part.register_forward_hook(note) for part in parts]
    try:
        with FlopCounterMode(display=False) as flops:
            draw()
    finally:
        for hook in hooks:
            hook.remove()
    return {
        "passes_per_image": max(rows.values()) / batch_size,
        "flops_per_image": flops.get_total_flops() / batch_size,
    }
