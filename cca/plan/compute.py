"""How long a job takes: operations, counted on networks without memory, over a machine's speed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cca import models, tokenizers
from cca.config import Tier
from cca.data.images import DataSettings
from cca.device import shapes_only
from cca.entries import TrainedModel, TrainedTokenizer
from cca.evaluate.classifier import Classifier
from cca.models import ARModel
from cca.pitfalls.mistakes import MISTAKES
from cca.plan.images import Split
from cca.plan.jobs import Job
from cca.shards import shard_range
from cca.stages.train_classifier import ClassifierSettings
from cca.stages.train_tokenizer import TokenizerTraining
from cca.tokenizers import Tokenizer
from cca.training.adversarial import AdversarialSettings, Discriminator
from cca.training.execution import Execution
from cca.training.perceptual import Perceptual

BACKWARD = 2  # times the operations of the forward pass
INCEPTION = 11.4e9
"""Operations of Inception-v3 on one image of 299 x 299: 5.7 billion multiplications and additions."""


@dataclass(frozen=True)
class Machine:
    """Operations a second that one core or GPU reaches, by kind of work: assumptions, not measurements.

    Attributes:
        training: transformers, forward and backward.
        scoring: transformers, forward, whole sequences.
        decoding: next token by next token, or scale by scale, bound by memory.
        layers: no operations, but a step's layers while decoding, however few their images: kernels to start.
        convolution: tokenizers and feature extractors.
        start: seconds before a job computes: imports, reading, writing.
    """

    title: str
    training: float
    scoring: float
    decoding: float
    layers: float
    convolution: float
    start: float


MACHINES = {
    "cpu": Machine("one CPU core", 3.3e10, 3.8e10, 2.7e10, math.inf, 5.0e10, 2),
    "a100": Machine("one A100 80 GB, bfloat16", 1.1e14, 1.4e14, 5.0e13, 1200, 4.0e13, 30),
    "h100": Machine("one H100 80 GB, bfloat16", 3.5e14, 4.4e14, 8.4e13, 1200, 1.2e14, 30),
}
"""CPU: transformers as docs/results/mini took, convolutions as the tier cifar10's. GPUs: of the peak, 35 % in
training and 45 in scoring; in decoding 25 operations a byte that the memory gives; layers as those of a small
model took on an H100. (The official LlamaGen's take a fifth longer on an A100, by its
autoregressive/serve/README.md.)"""


def count(work: Callable[..., object], *inputs: Tensor) -> float:
    """Operations of ``work(*inputs)``, as torch counts them: two for a multiplication and addition."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        work(*inputs)
    return float(counter.get_total_flops())


class Networks:
    """The networks of a tier on torch's meta device, and the operations of one image through each."""

    def __init__(self, tier: Tier, classes: int):
        with shapes_only():
            self.tokenizers: dict[str, Tokenizer] = {
                name: tokenizers.build(entry.kind, entry.architecture).eval()
                for name, entry in tier.tokenizers.items()
            }
            self.models: dict[str, ARModel] = {
                name: models.build(
                    entry.making.family, entry.making.architecture, self.tokenizers[entry.tokenizer], classes
                ).eval()
                for name, entry in tier.models.items()
            }
        self._tier, self._classes = tier, classes

    @cached_property
    def forward(self) -> dict[str, float]:
        """Of each model: the log-likelihood of an image, which is also drawing one."""
        return {name: count(model.log_prob, codes(model), labels()) for name, model in self.models.items()}

    @cached_property
    def encode(self) -> dict[str, float]:
        """Of each tokenizer: an image to codes."""
        return {name: count(coder.encode, image(coder)) for name, coder in self.tokenizers.items()}

    @cached_property
    def decode(self) -> dict[str, float]:
        """Of each tokenizer: codes to an image."""
        return {name: count(coder.decode, codes(coder)) for name, coder in self.tokenizers.items()}

    @cached_property
    def extract(self) -> float:
        """Of the evaluator: an image to features."""
        return self.classify(self._tier.classifier) if self._tier.classifier else INCEPTION

    def classify(self, settings: ClassifierSettings) -> float:
        """Of a classifier that the tier trains."""
        return count(self._classifier(settings), image(self._tier.data))

    def perceive(self, settings: ClassifierSettings) -> float:
        """Of the tokenizers' perceptual network: an image beside another."""
        pixels = image(self._tier.data)
        return count(Perceptual(self._classifier(settings)), pixels, pixels)

    def _classifier(self, settings: ClassifierSettings) -> Classifier:
        data = self._tier.data
        with shapes_only():
            return Classifier(settings.architecture, data.image_size, data.channels, self._classes).eval()

    def discriminate(self, settings: AdversarialSettings) -> float:
        """Of a tokenizer's discriminator."""
        data = self._tier.data
        with shapes_only():
            network = Discriminator(data.image_size, data.channels, settings.channels, settings.layers).eval()
        return count(network, image(data))


def image(seen: Tokenizer | DataSettings) -> Tensor:
    """An image without values, as a tokenizer or a tier sees them."""
    return torch.empty(1, seen.channels, seen.image_size, seen.image_size, device="meta")


def codes(network: Tokenizer | ARModel) -> Tensor:
    """Codes without values."""
    return torch.empty(1, network.num_tokens, dtype=torch.int64, device="meta")


def labels() -> Tensor:
    """A label without a value."""
    return torch.empty(1, dtype=torch.int64, device="meta")


def pairs_of(tier: Tier, model: str, images: int) -> int:
    """Pairs of one epoch of finetuning."""
    settings = tier.models[model].pairs
    return settings.visits * min(images, settings.images or images)


def training(settings: Execution) -> int:
    """The operations of a step of training over those of its forward pass."""
    return 1 + BACKWARD + settings.activation_checkpointing  # which computes them once more


def reconstructing(settings: TokenizerTraining, again: float, tier: Tier, networks: Networks) -> float:
    """The operations of training a tokenizer, of which encoding and decoding an image takes ``again``.

    The perceptual network sees images and reconstructions, and gradients go back to both, once more where the
    discriminator's are held against them. That judges reconstructions, with two ways back, and learns from
    both.
    """
    adversarial = settings.adversarial
    late = settings.steps - adversarial.start if adversarial else 0
    work = settings.steps * (1 + BACKWARD) * again
    if settings.perceptual and tier.perceptual:
        work += (2 * settings.steps + late) * networks.perceive(tier.perceptual)
    if adversarial:
        work += late * (3 + 2 * (1 + BACKWARD)) * networks.discriminate(adversarial)
    return settings.batch_size * work


def drawing(
    model: ARModel, forward: float, images: int, batch_size: int, passes: float = 1
) -> dict[str, float]:
    """The operations of drawing images by so many passes, and the layers begun."""
    steps = math.ceil(images / batch_size) * model.num_steps
    return {"decoding": passes * images * forward, "layers": steps * len(model.trunk)}


def samples_of(tier: Tier, job: Job) -> int:
    """Images that a job draws; 0 for a job that draws none."""
    if job.rule not in {"sample", "sample_variant"}:
        return 0
    settings = tier.models[job["model"]].sampling
    return in_shard(job, settings.num_samples, settings.batch_size)


def in_shard(job: Job, items: int, batch_size: int) -> int:
    """How many of all items are a job's."""
    first, last = shard_range(items, batch_size, int(job["shard"]), int(job["shards"]))
    return last - first


def seconds(
    job: Job, tier: Tier, networks: Networks, split: Split, machine: Machine, processes: int = 1
) -> float:
    """What a job takes from its start, shared by so many processes of a core or GPU each."""
    parts = operations(job, tier, networks, split)
    work = sum(amount / getattr(machine, kind) for kind, amount in parts.items())
    return machine.start + work / processes


def operations(job: Job, tier: Tier, networks: Networks, split: Split) -> dict[str, float]:
    """The operations of a job by kind of work, named as `Machine`'s speeds; of a light one none.

    Not counted are other systems' samples.
    """
    images, model = split.images, job["model"]
    tokenizer = tier.models[model].tokenizer if model else job["tokenizer"]
    trained = {"features": tier.classifier, "perceptual": tier.perceptual}
    if settings := trained.get(job.rule):
        steps = settings.training.steps * settings.training.batch_size
        return {"convolution": (1 + BACKWARD) * steps * networks.classify(settings)}
    if job.rule == "reference" and tier.evaluation.reference is None:
        return {"convolution": images * networks.extract}
    if job.rule == "reference_by_inception":
        return {"convolution": images * INCEPTION}
    coder = tier.tokenizers.get(tokenizer)
    if job.rule == "tokenizer" and isinstance(coder, TrainedTokenizer):
        again = networks.encode[tokenizer] + networks.decode[tokenizer]
        return {"convolution": reconstructing(coder.training, again, tier, networks)}
    if job.rule == "encode" and coder:
        return {"convolution": images * coder.codes.crops / tier.code_shards * networks.encode[tokenizer]}
    if job.rule == "quality":
        again = networks.encode[tokenizer] + networks.decode[tokenizer]
        judged = min(images, tier.evaluation.reference_images)
        return {"convolution": (judged + split.heldout) * again + judged * networks.extract}
    entry = tier.models.get(model)
    if job.rule == "pretrain" and isinstance(entry, TrainedModel):
        visits = entry.pretraining.steps * entry.pretraining.batch_size
        return {"training": training(entry.pretraining) * visits * networks.forward[model]}
    if job.rule in {"score", "score_fakes"}:
        scored = in_shard(job, pairs_of(tier, model, images), tier.score(model).batch_size)
        return {"scoring": 2 * scored * networks.forward[model]}
    if job.rule == "finetune" and entry:
        sides = 2 * pairs_of(tier, model, images)
        return {"training": training(entry.finetuning) * sides * networks.forward[model]}
    if job.rule == "fakes":
        drawn, together = pairs_of(tier, model, images), tier.fakes(model).batch_size
        return drawing(networks.models[model], networks.forward[model], drawn, together)
    if drawn := samples_of(tier, job):
        together, passes = tier.models[model].sampling.batch_size, 2 if float(job["scale"]) else 1
        work = drawing(networks.models[model], networks.forward[model], drawn, together, passes)
        return work | {"convolution": drawn * networks.decode[tokenizer]}
    if job.rule == "cost":
        together = tier.cost.batch_size
        drawn = 2 * (tier.cost.repetitions + 1) * together
        return drawing(networks.models[model], networks.forward[model], drawn, together, 1.5)  # half guided
    if job.rule in {"evaluate", "evaluate_by_inception"}:
        extract = networks.extract if job.rule == "evaluate" else INCEPTION
        return {"convolution": tier.models[model].sampling.num_samples * extract}
    if job.rule == "pitfalls" and tier.pitfalls:
        images = tier.models[tier.pitfalls.model].sampling.num_samples
        times = len(tier.measured_pitfalls().draws) + len(MISTAKES)
        return {"convolution": times * images * networks.extract}
    return {}
