"""Maximum-likelihood pretraining of a class-conditional model, with label dropout for guidance."""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field, model_validator

from cca import models, plugins, tokenizers
from cca.data import codes as code_data
from cca.device import autocast, loss_scaler, pick
from cca.distributed import processes
from cca.rng import generator, seed_torch
from cca.settings import as_value_error
from cca.training import Batches, Optimisation, optimise
from cca.training.execution import Execution, prepare
from cca.training.progress import Progress


class PretrainSettings(Execution):
    """The model and how it is trained."""

    family: str = Field(description="a module of cca.models")
    architecture: dict = Field(description="sizes of that family")
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    label_dropout: float = Field(default=0.1, ge=0, le=1, description="share of labels made unconditional")
    optimisation: Optimisation
    seed: int = 0

    @model_validator(mode="after")
    def _architecture_is_the_familys(self) -> "PretrainSettings":
        with as_value_error():
            plugins.configure("cca.models", self.family, "Architecture", self.architecture)
        return self


class LabelledBatches(Batches):
    """`Batches` of (B, 2): the index, and 1 where the label is made unconditional."""

    def __init__(self, items: int, batch_size: int, rng: np.random.Generator, label_dropout: float):
        super().__init__(items, batch_size, rng)
        self.labels_rng, self.label_dropout = rng, label_dropout

    def __next__(self) -> np.ndarray:
        batch = super().__next__()
        return np.stack([batch, self.labels_rng.random(len(batch)) < self.label_dropout], axis=1)


def run(
    settings: PretrainSettings, *, tokenizer: Path, codes: Path, out: Path, progress: Progress | None = None
) -> dict:
    """Stage ``pretrain``: train from scratch on all crops, write the checkpoint."""
    team, device = processes(), pick()
    data = code_data.load(codes)
    seed_torch("pretrain", settings.seed)
    coder = tokenizers.load(tokenizer)
    model = models.build(settings.family, settings.architecture, coder, data.num_classes)
    model.to(device).train()
    if not team.first:
        seed_torch("pretrain", settings.seed, *team.key)
    network = prepare(model, settings)
    images, crops, _ = data.shape

    def loss_of(batch: np.ndarray) -> tuple[torch.Tensor, dict]:
        index, dropped = batch.T
        image, crop = index % images, index // images
        labels = np.where(dropped, data.num_classes, data.labels[image])
        with autocast(device, settings.precision):
            log_prob = network(data.select(image, crop).to(device), torch.from_numpy(labels).to(device))
        return -log_prob / model.num_tokens, {}

    rng = generator("pretrain", settings.seed)
    batches = LabelledBatches(images * crops, settings.batch_size, rng, settings.label_dropout)
    optimise(
        model,
        batches,
        loss_of,
        settings.optimisation,
        steps=settings.steps,
        what="pretrain",
        log=out.with_suffix(".log.csv"),
        undecayed=model.undecayed,
        progress=progress,
        network=network,
        scaler=loss_scaler(device, settings.precision),
    )
    models.save(out, model, coder, settings.family, settings.architecture)
    return {"parameters": sum(p.numel() for p in model.parameters()), "processes": team.count}
