"""The frozen model's log-likelihoods of the pairs: computed once, shared by every objective, λ and β."""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from tqdm import tqdm

from cca import models, tokenizers
from cca.device import Precision, autocast, pick
from cca.errors import CCAError
from cca.files import CsvLog, read_npz, write_npz
from cca.rng import seed_torch
from cca.settings import Settings
from cca.stages import pairs as pair_data


class ScoreSettings(Settings):
    """How the reference log-likelihoods are computed."""

    batch_size: int = Field(default=500, ge=1, description="pairs at a time")
    dropout: bool = Field(default=False, description="keep the model's dropout on, as in finetuning")
    precision: Precision = Field(default="auto", description="finetuning's")


def run(
    settings: ScoreSettings,
    *,
    base: Path,
    tokenizer: Path,
    codes: Path,
    pairs: Path,
    fakes: Path | None = None,
    out: Path,
    seed: int,
) -> dict:
    """Stage ``score``: log p_phi of both sides of every pair, one forward pass each."""
    device = pick()
    items = pair_data.load_epoch(base=base, codes=codes, pairs=pairs, fakes=fakes)
    model = models.load(base, tokenizers.load(tokenizer)).to(device)
    model.train(settings.dropout)
    seed_torch("score", seed)
    scores = np.empty((2, len(items)), dtype=np.float32)
    with CsvLog(out.with_suffix(".log.csv")) as log:
        for start in tqdm(range(0, len(items), settings.batch_size), desc="score"):
            batch = slice(start, start + settings.batch_size)
            sides = items.sides(batch, device)
            for row, tokens, labels in zip(scores, sides.tokens, sides.labels, strict=True):
                with torch.inference_mode(), autocast(device, settings.precision):
                    row[batch] = model.log_prob(tokens, labels).cpu()
            positive, negative = scores[:, batch].mean(axis=1)
            log.write(first_pair=start, positive=positive, negative=negative)
    if not np.isfinite(scores).all():
        raise CCAError(
            f"{base}: the model gives {np.sum(~np.isfinite(scores))} log-likelihoods that are not finite"
        )
    made_of = pair_data.made_of(base, codes, pairs, fakes)
    write_npz(out, positive=scores[0], negative=scores[1], made_of=made_of)
    return {
        "mean_log_prob_positive": float(scores[0].mean()),
        "mean_log_prob_negative": float(scores[1].mean()),
    }


def load(path: Path, *, base: Path, codes: Path, pairs: Path, fakes: Path | None) -> np.ndarray:
    """log p_phi of the first and of the second sides of the pairs: (2, P) float32.

    Raises:
        CCAError: damaged file, or scores by another model or of other pairs, codes or samples.
    """
    scores = read_npz(path, "positive", "negative", "made_of")
    pair_data.check_made_of(scores["made_of"], path, base, codes, pairs, fakes)
    return np.stack([scores["positive"], scores["negative"]])
