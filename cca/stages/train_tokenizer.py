"""Training of an image tokenizer of any kind: its losses, and codebook revival."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from cca import plugins, tokenizers
from cca.data.augment import Augmentation, augment
from cca.data.images import load, to_tensor
from cca.device import autocast, pick
from cca.errors import CCAError
from cca.rng import generator, seed_torch
from cca.settings import Settings, as_value_error
from cca.training import Batches, Optimisation, optimise
from cca.training.adversarial import AdversarialSettings, Adversary
from cca.training.perceptual import load as load_perceptual
from cca.training.progress import Progress


class TokenizerTraining(Settings):
    """How long and how a tokenizer is trained: the weights of its losses beside the quantiser's."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    l1: float = Field(default=1.0, ge=0, description="weight of the mean absolute error")
    l2: float = Field(default=1.0, ge=0, description="weight of the mean squared error")
    perceptual: float = Field(default=0.0, ge=0, description="weight of cca.training.perceptual's distance")
    adversarial: AdversarialSettings | None = Field(default=None, description="a discriminator, or none")
    revive_every: int = Field(
        default=0, ge=0, description="steps after which codes unused since the last time are moved; 0: never"
    )
    revive_share: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="share of the steps in which codes are moved; the rest settles them",
    )
    optimisation: Optimisation

    @model_validator(mode="after")
    def _reconstructs(self) -> "TokenizerTraining":
        if self.l1 == self.l2 == 0:
            raise ValueError("l1 and l2 are both 0, so that nothing would be reconstructed")
        return self

    @model_validator(mode="after")
    def _discriminator_takes_part(self) -> "TokenizerTraining":
        if self.adversarial and self.adversarial.start >= self.steps:
            raise ValueError(f"adversarial.start {self.adversarial.start} is not below steps {self.steps}")
        return self

    def revives(self, step: int) -> bool:
        """Whether codes are moved after ``step`` (from 0)."""
        done = step + 1
        return (
            bool(self.revive_every)
            and done % self.revive_every == 0
            and done <= self.revive_share * self.steps
        )


class TokenizerSettings(Settings):
    """The tokenizer and how it is trained."""

    kind: str = Field(description="a module of cca.tokenizers")
    architecture: dict = Field(description="sizes of that kind")
    training: TokenizerTraining
    augmentation: Augmentation = Augmentation()
    seed: int = 0

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> "TokenizerSettings":
        with as_value_error():
            plugins.configure("cca.tokenizers", self.kind, "Architecture", self.architecture)
        return self


def run(
    settings: TokenizerSettings,
    *,
    images: Path,
    out: Path,
    perceptual: Path | None = None,
    progress: Progress | None = None,
) -> dict:
    """Stage ``tokenizer``: train on the training split, write the checkpoint ``out`` and its log.

    ``perceptual`` is the classifier of the perceptual distance, where that has a weight.

    Returns:
        The number of parameters.

    Raises:
        CCAError: bad images, images of another size than the architecture's, a perceptual distance
            without its classifier or the other way round, or a loss that is not finite.
    """
    device, data, training = pick(), load(images), settings.training
    if (training.perceptual > 0) != (perceptual is not None):
        raise CCAError("tokenizer: a weight 'perceptual' and a classifier (--perceptual) go together")
    seed_torch("tokenizer", settings.seed)
    tokenizer = tokenizers.build(settings.kind, settings.architecture).to(device).train()
    wanted = (tokenizer.image_size, tokenizer.image_size, tokenizer.channels)
    if data.train_images.shape[1:] != wanted:
        raise CCAError(
            f"{images}: images of (height, width, channels) {data.train_images.shape[1:]}, but the "
            f"tokenizer's architecture is for {wanted}: change its image_size or channels"
        )
    rng = generator("tokenizer", settings.seed)
    distance = adversary = None
    if perceptual:
        distance = load_perceptual(perceptual, *wanted[1:]).to(device)
    if training.adversarial:
        adversary = Adversary(training.adversarial, *wanted[1:], steps=training.steps, device=device)
    codebook = nn.Module()
    used = torch.zeros(tokenizer.vocab_size, dtype=torch.bool, device=device)
    codebook.register_buffer("used", used)

    def augmented(batch: np.ndarray) -> Tensor:
        return to_tensor(augment(data.train_images[batch], settings.augmentation, rng)).to(device)

    def loss_of(batch: np.ndarray) -> tuple[Tensor, dict]:
        inputs = augmented(batch)
        with autocast(device):
            outputs, quantiser_loss, codes = tokenizer(inputs)
        used[codes.flatten()] = True
        absolute, squared = F.l1_loss(outputs.float(), inputs), F.mse_loss(outputs.float(), inputs)
        reconstruction = training.l1 * absolute + training.l2 * squared
        parts = {"l1": absolute, "l2": squared, "quantiser": quantiser_loss, "used": used.float().mean()}
        if distance:
            parts["perceptual"] = distance(outputs.float(), inputs).mean()
            reconstruction = reconstruction + training.perceptual * parts["perceptual"]
        loss = reconstruction + quantiser_loss
        if adversary:
            realism, more = adversary.loss(inputs, outputs.float(), reconstruction, tokenizer.last_layer)
            loss, parts = loss + realism, parts | more
        return loss, {name: part.detach() for name, part in parts.items()}

    def after_step(step: int) -> None:
        if adversary:
            adversary.learn()
        if not training.revives(step):
            return
        unused = np.flatnonzero(~used.cpu().numpy())
        used.fill_(False)
        if len(unused):
            batch = rng.integers(len(data.train_images), size=training.batch_size)
            tokenizer.revive(augmented(batch), unused, rng)

    optimise(
        tokenizer,
        Batches(len(data.train_images), training.batch_size, rng),
        loss_of,
        training.optimisation,
        steps=training.steps,
        what="tokenizer",
        log=out.with_suffix(".log.csv"),
        after_step=after_step,
        progress=progress,
        further={"codebook": codebook, **({"adversary": adversary} if adversary else {})},
    )
    tokenizers.save(out, tokenizer, settings.kind, settings.architecture)
    return {"parameters": sum(p.numel() for p in tokenizer.parameters())}
