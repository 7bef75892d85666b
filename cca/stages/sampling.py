"""Sampling images in shards that do not change them."""

from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from cca import models, tokenizers
from cca.device import Precision, autocast, pick
from cca.files import CsvLog, write_npz
from cca.guidance import Guidance
from cca.rng import generator, sample_uniforms
from cca.settings import Settings
from cca.shards import shard_range


class PostProcessing(Settings):
    """From the decoder's floats to uint8: resize, clamp, round, in this order."""

    size: int | None = Field(
        default=None, ge=1, description="bicubic resize without antialias, as LlamaGen's"
    )
    rounding: Literal["round", "floor"] = Field(
        default="round", description="of 127.5 x + 127.5: LlamaGen rounds it, VAR floors it"
    )


class SamplingSettings(Settings):
    """How many images of which classes, decoded how."""

    guidance: Guidance = Guidance()
    num_samples: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="images decoded together; a shard holds whole batches")
    labels: Literal["balanced", "random"] = Field(
        default="balanced", description="VAR's, as many of each class, or LlamaGen's, drawn independently"
    )
    precision: Precision = Field(default="auto", description="of the model: LlamaGen's bf16, VAR's fp16")
    decoder_precision: Precision = Field(
        default="auto", description="of the tokenizer's decoder: LlamaGen's fp32, VAR's fp16"
    )
    postprocessing: PostProcessing = PostProcessing()


def sample_labels(count: int, num_classes: int, kind: str, seed: int) -> np.ndarray:
    """Labels (count,) of all samples: balanced, in one seeded permutation, or independent draws."""
    rng = generator("labels", seed)
    if kind == "random":
        return rng.integers(num_classes, size=count)
    return rng.permutation(np.arange(count) % num_classes)


def to_uint8(images: Tensor, settings: PostProcessing) -> np.ndarray:
    """Decoder output (B, C, H, W), nominally [-1, 1], to uint8 RGB (B, H, W, 3); grey is repeated."""
    if settings.size is not None:
        images = F.interpolate(images, size=(settings.size, settings.size), mode="bicubic")
    offset = {"round": 128.0, "floor": 127.5}[settings.rounding]
    pixels = images.float().mul(127.5).add(offset).clamp(0, 255)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).cpu().numpy()


def run(
    settings: SamplingSettings,
    *,
    model: Path,
    tokenizer: Path,
    out: Path,
    seed: int,
    shard: int = 0,
    shards: int = 1,
) -> dict:
    """Stage ``sample``: write one shard, an ADM-style ``.npz`` with labels and its place in the whole.

    Every token's random number is a function of (seed, sample, token), and batches are cut the same
    way for any number of shards, so the images are the same bytes however they are sharded.
    """
    device = pick()
    first, last = shard_range(settings.num_samples, settings.batch_size, shard, shards)
    decoder = tokenizers.load(tokenizer).to(device)
    network = models.load(model, decoder).to(device)
    labels = sample_labels(settings.num_samples, network.num_classes, settings.labels, seed)
    images = []
    with CsvLog(out.with_suffix(".log.csv")) as log:
        for start in tqdm(range(first, last, settings.batch_size), desc="sample"):
            begun = perf_counter()
            index = np.arange(start, min(start + settings.batch_size, last))
            uniforms = torch.from_numpy(sample_uniforms(seed, index, network.num_tokens)).to(device)
            wanted = torch.from_numpy(labels[index]).to(device)
            with torch.inference_mode(), autocast(device, settings.precision):
                codes = network.sample(wanted, settings.guidance, uniforms)
            with torch.inference_mode(), autocast(device, settings.decoder_precision):
                images.append(to_uint8(decoder.decode(codes), settings.postprocessing))
            log.write(first_sample=start, samples=len(index), seconds=perf_counter() - begun)
    write_npz(
        out,
        arr_0=np.concatenate(images),
        labels=labels[first:last],
        start=np.array(first),
        total=np.array(settings.num_samples),
    )
    return {"samples": last - first}
