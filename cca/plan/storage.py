"""What the outputs of a job take on disk."""

from torch import nn

from cca.config import Tier
from cca.entries import ImportedFinetune, ImportedModel, ImportedTokenizer
from cca.models import ARModel
from cca.plan.compute import Networks, pairs_of, samples_of
from cca.plan.images import Split
from cca.plan.jobs import Job
from cca.tokenizers import Tokenizer

FLOAT = 4  # bytes
PIXEL = 0.9  # byte of a colour value, after the compression of .npz
PAIR = 8  # bytes of a pair, compressed
KEPT = 20_000
"""Bytes of a file whose size does not follow from the tier: tables, metrics, figures, records."""


def size(job: Job, tier: Tier, networks: Networks, split: Split) -> float:
    """Bytes of what a job leaves, about."""
    pixels = PIXEL * tier.data.image_size**2 * tier.data.channels
    content = 0.0
    if job.rule == "data":
        content = (split.images + split.heldout) * (split.kept or pixels)
    elif job.rule == "heldout":
        content = split.heldout * pixels * 3 / tier.data.channels  # as colour
    elif job.rule == "encode":
        coded = split.images * tier.tokenizers[job["tokenizer"]].codes.crops / tier.code_shards
        coder = networks.tokenizers[job["tokenizer"]]
        content = coded * coder.num_tokens * (2 if coder.vocab_size <= 2**15 else 4)  # not compressed
    elif job.rule == "pairs":
        content = PAIR * pairs_of(tier, job["model"], split.images)
    elif job.rule == "fakes":
        content = pairs_of(tier, job["model"], split.images) * codes(networks.models[job["model"]])
    elif job.rule == "reference":
        content = min(split.images, tier.evaluation.reference_images) * pixels * 3 / tier.data.channels
    elif drawn := samples_of(tier, job):
        entry = tier.models[job["model"]]
        side = entry.sampling.postprocessing.size or networks.tokenizers[entry.tokenizer].image_size
        content = drawn * PIXEL * side**2 * 3
    elif job.rule == "download":
        content = FLOAT * downloaded(job["place"], tier, networks)
    elif any(file.endswith(".safetensors") for file in job.outputs):
        content = FLOAT * numbers(
            networks.models.get(job["model"]) or networks.tokenizers.get(job["tokenizer"])
        )
    return KEPT * len(job.outputs) + content


def numbers(network: nn.Module | None) -> int:
    """Of a network's checkpoint; 0 for the small classifiers, which are no part of the plan."""
    return sum(weight.numel() for weight in network.state_dict().values()) if network else 0


def downloaded(place: str, tier: Tier, networks: Networks) -> int:
    """Numbers of a file of official weights."""
    for entries, made in ((tier.tokenizers, networks.tokenizers), (tier.models, networks.models)):
        for name, entry in entries.items():
            if isinstance(entry, ImportedTokenizer | ImportedModel) and str(entry.checkpoint.place) == place:
                return numbers(made[name])
    for finetune in tier.finetunes.values():
        for name, file in finetune.checkpoints.items() if isinstance(finetune, ImportedFinetune) else ():
            if str(file.place) == place:
                return numbers(networks.models[name])
    return 0


def codes(network: ARModel | Tokenizer) -> float:
    """Bytes of an image's codes in a compressed file: as many bits as each needs."""
    return network.num_tokens * (network.vocab_size - 1).bit_length() / 8
