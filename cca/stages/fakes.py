"""Samples of the base model, one for each pair: the negatives of objectives that tell real from generated."""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from tqdm import tqdm

from cca import models, tokenizers
from cca.data import codes as code_data
from cca.device import Precision, autocast, pick
from cca.files import write_npz
from cca.guidance import Guidance
from cca.rng import sample_uniforms
from cca.settings import Settings
from cca.stages import pairs as pair_data


class FakesSettings(Settings):
    """How the samples are drawn: from the model's own distribution, so without guidance or truncation."""

    batch_size: int = Field(default=250, ge=1)
    precision: Precision = Field(default="auto", description="the one in which the model is sampled")


def run(
    settings: FakesSettings, *, base: Path, tokenizer: Path, codes: Path, pairs: Path, out: Path, seed: int
) -> dict:
    """Stage ``fakes``: codes drawn for the label of every pair, for a masked one unconditionally."""
    device = pick()
    labels = pair_data.load(pairs, code_data.load(codes)).label
    model = models.load(base, tokenizers.load(tokenizer)).to(device)
    fakes = np.empty((len(labels), model.num_tokens), dtype=np.int32)
    for start in tqdm(range(0, len(labels), settings.batch_size), desc="fakes"):
        batch = np.arange(start, min(start + settings.batch_size, len(labels)))
        uniforms = sample_uniforms(seed, batch, model.num_tokens, stream="fakes")
        with torch.inference_mode(), autocast(device, settings.precision):
            wanted = torch.from_numpy(labels[batch]).to(device)
            drawn = model.sample(wanted, Guidance(), torch.from_numpy(uniforms).to(device))
        fakes[batch] = drawn.cpu().numpy()
    write_npz(out, codes=fakes, made_of=pair_data.made_of(base, codes, pairs))
    return {"samples": len(fakes)}
