"""The frozen model's log-likelihoods of the pairs, a shard at a time: once for all objectives, λ and β."""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from tqdm import tqdm

from cca import models, tokenizers
from cca.device import Precision, autocast, pick
from cca.errors import CCAError
from cca.files import CsvLog, write_npz
from cca.files.archives import Archive
from cca.rng import seed_torch
from cca.settings import Settings
from cca.shards import Place, shard_range, whole
from cca.stages import pairs as pair_data


class ScoreSettings(Settings):
    """How the reference log-likelihoods are computed."""

    batch_size: int = Field(default=500, ge=1, description="pairs at a time; a shard holds whole batches")
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
    shard: int = 0,
    shards: int = 1,
) -> dict:
    """Stage ``score``: write one shard of log p_phi of both sides of every pair, one forward pass each.

    Batches are cut the same way for any number of shards, and each draws its own dropout, so that the
    scores are the same however they are sharded.

    Raises:
        CCAError: files that do not belong together, scores that are not finite, or no such shard.
    """
    device = pick()
    items = pair_data.load_epoch(base=base, codes=codes, pairs=pairs, fakes=fakes)
    first, last = shard_range(len(items), settings.batch_size, shard, shards)
    model = models.load(base, tokenizers.load(tokenizer)).to(device)
    model.train(settings.dropout)
    batches = []
    with CsvLog(out.with_suffix(".log.csv")) as log:
        for start in tqdm(range(first, last, settings.batch_size), desc="score"):
            seed_torch("score", seed, start)
            sides = items.sides(slice(start, min(start + settings.batch_size, last)), device)
            with torch.inference_mode(), autocast(device, settings.precision):
                rows = [model.log_prob(*side).cpu() for side in zip(sides.tokens, sides.labels, strict=True)]
            batches.append(torch.stack(rows).numpy())
            positive, negative = batches[-1].mean(axis=1)
            log.write(first_pair=start, positive=positive, negative=negative)
    scores = np.concatenate(batches, axis=1)
    if not np.isfinite(scores).all():
        raise CCAError(
            f"{base}: the model gives {np.sum(~np.isfinite(scores))} log-likelihoods that are not finite"
        )
    write_npz(
        out,
        positive=scores[0],
        negative=scores[1],
        made_of=pair_data.made_of(base, codes, pairs, fakes),
        computed=_computed(settings.dropout, settings.precision),
        start=np.array(first),
        total=np.array(len(items)),
    )
    return {
        "mean_log_prob_positive": float(scores[0].mean()),
        "mean_log_prob_negative": float(scores[1].mean()),
    }


def _computed(dropout: bool, precision: Precision) -> np.ndarray:
    """What of the way in which scores are computed must be finetuning's own."""
    return np.array(f"{'with' if dropout else 'without'} dropout, precision {precision}")


def load(
    path: Path,
    *,
    base: Path,
    codes: Path,
    pairs: Path,
    fakes: Path | None,
    dropout: bool = False,
    precision: Precision = "auto",
) -> np.ndarray:
    """log p_phi of the first and of the second sides of the pairs: (2, P) float32.

    Args:
        path: the folder of all shards, or the file of a single one.
        dropout: whether the finetuned model has it on, and so the frozen one must have had.
        precision: of finetuning, and so of the frozen model.

    Raises:
        CCAError: no such file, a damaged one, scores by another model or of other pairs, codes or samples,
            or computed otherwise than the finetuned model is, or shards that are not the whole.
    """
    files = sorted(path.glob("shard_*.npz")) or [path]
    archives = [Archive(file) for file in files]
    kept = {archive.path: archive.read("made_of") for archive in archives}
    pair_data.check_made_of(kept, base, codes, pairs, fakes)
    wanted = str(_computed(dropout, precision))
    for archive in archives:
        if (found := str(archive.read("computed"))) != wanted:
            raise CCAError(f"{archive.path}: scores {found}; finetuning is {wanted}: score again as it is")
    scores = [np.stack([_side(archive, name) for name in ("positive", "negative")]) for archive in archives]
    places = [Place.of(archive, part.shape[1]) for archive, part in zip(archives, scores, strict=True)]
    order = whole(path, places, "pairs", "score those shards again")
    return np.concatenate([scores[index] for index in order], axis=1)


def _side(archive: Archive, name: str) -> np.ndarray:
    """The scores (n,) of one side, or a `CCAError`."""
    shape, dtype = archive.header(name)
    if len(shape) != 1 or shape != archive.header("positive")[0] or dtype != np.float32:
        raise CCAError(
            f"{archive.path}: '{name}' is {dtype} of shape {shape}: no scores of pairs; make it again"
        )
    return archive.read(name)
