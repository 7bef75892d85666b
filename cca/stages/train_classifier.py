"""Training of the domain classifier, whose features the metrics, or a perceptual loss, are computed on."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, from_numpy

from cca.data.augment import Augmentation, augment
from cca.data.images import load, part, require_heldout
from cca.device import pick
from cca.errors import CCAError
from cca.evaluate.classifier import Classifier, ClassifierArchitecture, accuracy, fit_scales, to_input
from cca.rng import generator, seed_torch
from cca.settings import Settings
from cca.training import Batches, Optimisation, optimise
from cca.training.muon import Muon
from cca.training.progress import Progress


class ClassifierTraining(Settings):
    """How long and how the classifier is trained."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    muon: float | None = Field(
        default=None,
        gt=0,
        description="convolutions are trained by Muon, at so many times the learning rate; None: by AdamW",
    )
    optimisation: Optimisation


class ClassifierSettings(Settings):
    """The classifier, its training, and how good it has to be."""

    only_refuse: ClassVar[frozenset[str]] = frozenset({"minimum_accuracy"})

    architecture: ClassifierArchitecture = ClassifierArchitecture()
    training: ClassifierTraining
    augmentation: Augmentation = Augmentation()
    share: tuple[float, float] = Field(
        default=(0.0, 1.0),
        description="from where to where of the training images, in a seeded order, it sees",
    )
    seed: int = 0
    minimum_accuracy: float = Field(
        default=0.0, ge=0, le=1, description="on the held-out images; below it the stage fails"
    )

    @model_validator(mode="after")
    def _share_is_a_part(self) -> "ClassifierSettings":
        if not 0 <= self.share[0] < self.share[1] <= 1:
            raise ValueError(f"share {list(self.share)}: two ends are wanted, 0 <= first < last <= 1")
        return self


def run(settings: ClassifierSettings, *, images: Path, out: Path, progress: Progress | None = None) -> dict:
    """Stage ``features``: train on a share of the training split, write the checkpoint ``out`` and its log.

    Returns:
        Held-out accuracy, number of parameters, and the two feature scales.

    Raises:
        CCAError: bad images, a loss that is not finite, or an accuracy below ``minimum_accuracy``.
    """
    device, data, training = pick(), load(images), settings.training
    require_heldout(data, images)
    _, height, width, channels = data.train_images.shape
    if height != width:
        raise CCAError(f"{images}: images of {height} x {width} px; the classifier wants square ones")
    seed_torch("classifier", settings.seed)
    model = Classifier(settings.architecture, height, channels, data.num_classes).to(device).train()
    rng = generator("classifier", settings.seed)

    seen = part(data.train_labels, data.num_classes, settings.share)

    def loss_of(batch: np.ndarray) -> tuple[Tensor, dict]:
        inputs = to_input(augment(data.train_images[seen[batch]], settings.augmentation, rng))
        labels = from_numpy(data.train_labels[seen[batch]]).to(device)
        logits = model(inputs.to(device)).logits
        loss = F.cross_entropy(logits, labels, label_smoothing=training.label_smoothing)
        return loss, {"accuracy": (logits.argmax(dim=1) == labels).float().mean()}

    rule = training.optimisation
    optimise(
        model,
        Batches(len(seen), training.batch_size, rng),
        loss_of,
        rule,
        steps=training.steps,
        what="classifier",
        log=out.with_suffix(".log.csv"),
        progress=progress,
        optimizer=Muon(model, rule, training.muon) if training.muon else None,
    )
    model.eval()
    reached = accuracy(model, data.heldout_images, data.heldout_labels)
    if reached < settings.minimum_accuracy:
        raise CCAError(
            f"classifier: held-out accuracy {reached:.4f} is below minimum_accuracy "
            f"{settings.minimum_accuracy}: train longer, or lower it"
        )
    fit_scales(model, data.train_images)
    model.save(out, accuracy=reached)
    return {
        "accuracy": reached,
        "parameters": sum(p.numel() for p in model.parameters()),
        "pool_scale": model.pool_scale.item(),
        "spatial_scale": model.spatial_scale.item(),
    }
