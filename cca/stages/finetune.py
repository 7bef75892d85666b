"""Finetuning with a contrastive objective over precomputed reference log-likelihoods."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from cca import checkpoints, models, objectives, tokenizers
from cca.device import autocast, loss_scaler, pick
from cca.distributed import processes
from cca.errors import CCAError
from cca.objectives import Objective
from cca.rng import seed_torch
from cca.stages import pairs as pair_data
from cca.stages import score
from cca.training import Batches, Optimisation, optimise
from cca.training.execution import Execution, prepare
from cca.training.progress import Progress


class Finetuning(Execution):
    """How a model is finetuned, whatever the objective: one pass over the pairs in their order."""

    batch_size: int = Field(ge=1, description="pairs a step; what is left at the end is dropped")
    micro_batch: int | None = Field(default=None, ge=1, description="pairs in a process's memory at a time")
    dropout: bool = Field(default=False, description="keep the model's dropout on, reference included")
    optimisation: Optimisation


class FinetuneSettings(Finetuning):
    """The same with an objective."""

    objective: Objective


def run(
    settings: FinetuneSettings,
    *,
    base: Path,
    tokenizer: Path,
    codes: Path,
    pairs: Path,
    scores: Path,
    fakes: Path | None = None,
    out: Path,
    seed: int,
    progress: Progress | None = None,
) -> dict:
    """Stage ``finetune``: one epoch over the pairs; no frozen copy of the model is needed.

    Any number of processes sees the same pairs in the same batches, and with dropout draws the same masks for
    the same micro-batches: theirs must be as large.

    Logs, a row a step, the mean of g over positives and over true negatives, of the pairs that have one and
    are not masked, and the share of these pairs with g_pos > g_neg.

    Raises:
        CCAError: files that do not belong together or to the objective, fewer pairs than a batch, a NaN loss.
    """
    team, device = processes(), pick()
    if objectives.contrasts_samples(settings.objective) != (fakes is not None):
        needs = "takes no" if fakes else "needs"
        raise CCAError(f"objective {settings.objective['name']} {needs} samples of stage 'fakes' (--fakes)")
    made_of: dict[str, Any] = {"base": base, "codes": codes, "pairs": pairs, "fakes": fakes}
    items = pair_data.load_epoch(**made_of)
    reference = score.load(scores, **made_of, dropout=settings.dropout, precision=settings.precision)
    if not (steps := len(items) // settings.batch_size):
        raise CCAError(f"{pairs}: {len(items)} pairs are fewer than a batch of {settings.batch_size}")
    coder = tokenizers.load(tokenizer)
    model = models.load(base, coder).to(device)
    model.train(settings.dropout)
    network = prepare(model, settings)
    objective = objectives.bind(settings.objective)

    def loss_of(batch: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        seed_torch("finetune", seed, int(batch[0]))  # dropout is of the pairs, whoever computes them
        sides = items.sides(batch, device)
        with autocast(device, settings.precision):
            log_prob = network(sides.tokens.flatten(0, 1), sides.labels.flatten())
        g = log_prob.view(2, -1) - torch.from_numpy(reference[:, batch]).to(device)
        unconditional = sides.labels[0] == model.num_classes
        no_contrast = sides.positive_pair | unconditional
        return objective(g[0], g[1], sides.positive_pair), contrast(g.detach(), no_contrast)

    optimise(
        model,
        Batches(len(items), settings.batch_size),
        loss_of,
        settings.optimisation,
        steps=steps,
        what="finetune",
        log=out.with_suffix(".log.csv"),
        micro_batch=settings.micro_batch,
        undecayed=model.undecayed,
        progress=progress,
        network=network,
        scaler=loss_scaler(device, settings.precision),
    )
    described = checkpoints.metadata(base)
    models.save(out, model, coder, described["family"], described["architecture"])
    return {"steps": steps, "pairs": steps * settings.batch_size, "processes": team.count}


def contrast(g: Tensor, left_out: Tensor) -> dict[str, Tensor]:
    """What is logged of g (2, B): one number a pair, NaN for those ``left_out`` (B,).

    These are the pairs whose second side is no true negative, and where negatives are samples, which all are,
    the masked ones.

    ``g_pos``, ``g_neg``: change of the log-likelihood under the own and under the negative label, in
    nats an image; ``accuracy``: 1 if g_pos > g_neg, else 0.
    """
    g_pos, g_neg = g.masked_fill(left_out, torch.nan)
    accuracy = (g_pos > g_neg).float().masked_fill(left_out, torch.nan)
    return {"g_pos": g_pos, "g_neg": g_neg, "accuracy": accuracy}
