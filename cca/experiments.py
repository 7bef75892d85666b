"""What is measured, and where under a tier's results it lies."""

from dataclasses import dataclass
from pathlib import Path

BASE = "base"  # the finetune of a model that is not finetuned
METRICS = "metrics.json"


@dataclass(frozen=True, order=True)
class Experiment:
    """One set of samples: a model, how it was finetuned, the seed, and the guidance scale."""

    model: str
    finetune: str
    seed: int
    scale: float

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that is sampled. The base model is the same for every seed."""
        if self.finetune == BASE:
            return Path(self.model, BASE, "model.safetensors")
        return Path(self.model, self.finetune, f"seed={self.seed}", "model.safetensors")

    @property
    def metrics(self) -> Path:
        """The metrics of its samples."""
        return Path(self.model, self.finetune, f"seed={self.seed}", f"s={self.scale:g}", METRICS)

    def samples(self, shards: int) -> Path:
        """The first of its files of samples, where these are in so many shards."""
        return self.metrics.with_name("samples") / str(shards) / "shard_0.npz"

    @property
    def inception(self) -> Path:
        """The same by Inception's features, beside those of the tier's own extractor."""
        return by_inception(self.metrics)

    @property
    def log(self) -> Path:
        """The log of its finetuning, a row a step."""
        return self.checkpoint.with_suffix(".log.csv")


def cost(model: str) -> Path:
    """What sampling from a model costs, without and with guidance."""
    return Path(model, "cost.json")


def external(name: str) -> Path:
    """The metrics of another system's samples."""
    return Path("external", name, METRICS)


def by_inception(metrics: Path) -> Path:
    """The metrics of the same samples by Inception's features."""
    return metrics.with_name("inception.json")


def quality(tokenizer: str) -> Path:
    """How good a tokenizer is."""
    return Path("tokenizers", tokenizer, "quality.json")
