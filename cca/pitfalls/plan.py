"""Which samples the pitfalls are measured on: the right ones, other seeds', and wrongly drawn ones."""

from pathlib import Path

from pydantic import Field

from cca.evaluate.protocol import EvaluationSettings
from cca.experiments import BASE, Experiment
from cca.settings import Seeds, Settings

MEASURED = Path("pitfalls", "pitfalls.json")
"""Where the measurements are, below a tier's results."""


class TierPitfalls(Settings):
    """Section ``pitfalls`` of a tier: whose samples are evaluated wrongly, and how they are drawn wrongly."""

    model: str
    finetune: str = BASE
    scale: float = Field(ge=0, description="the right guidance scale")
    seeds: Seeds = Field(min_length=2, description="all show the noise; mistakes are made with the first")
    splits: int = Field(default=10, ge=1, description="of the Inception Score: 50,000 samples are 10")
    sampling: dict[str, dict] = Field(
        default={}, description="by name: what is changed in the model's sampling settings"
    )

    def experiment(self, seed: int, scale: float) -> Experiment:
        """Samples of the model with a seed and a scale."""
        return Experiment(self.model, self.finetune, seed, scale)

    @property
    def right(self) -> Experiment:
        """The experiment that is spoiled."""
        return self.experiment(self.seeds[0], self.scale)

    def experiments(self) -> list[Experiment]:
        """Those of other artefacts' kind: all seeds, and the scale off by one."""
        return [*(self.experiment(seed, self.scale) for seed in self.seeds), *self.off_by_one().values()]

    def off_by_one(self) -> dict[str, Experiment]:
        """Scales that come of s meaning s + 1 elsewhere."""
        scales = {"s - 1": self.scale - 1, "s + 1": self.scale + 1}
        return {name: self.experiment(self.seeds[0], scale) for name, scale in scales.items() if scale >= 0}

    def draws(self, shards: int) -> list["Draw"]:
        """All samples that are evaluated, the right ones first."""
        right, *others = (self.experiment(seed, self.scale) for seed in self.seeds)

        def draw(group: str, name: str, what: str, experiment: Experiment, variant: str = "") -> Draw:
            return Draw(group=group, name=name, what=what, folder=folder(experiment, shards, variant))

        return [
            draw("right", "as it should be", "nothing", right),
            *(draw("noise", f"seed {e.seed}", "sampled with another seed", e) for e in others),
            *(
                draw("sampling", name, f"sampled with s = {e.scale:g} for {self.scale:g}", e)
                for name, e in self.off_by_one().items()
            ),
            *(
                draw("sampling", name.replace("_", " "), f"sampled with {_flat(change)}", right, name)
                for name, change in self.sampling.items()
            ),
        ]


def folder(experiment: Experiment, shards: int, variant: str = "") -> Path:
    """Where samples of an experiment are, or those that are drawn wrongly as a variant says."""
    return experiment.metrics.parent / variant / "samples" / str(shards)


class Draw(Settings):
    """Samples to be evaluated: what was done to get them, and their shards' folder below the results."""

    group: str
    name: str
    what: str
    folder: Path


class PitfallsSettings(Settings):
    """Settings of stage ``pitfalls``: the protocol, and all samples, the right ones first."""

    benchmark: str
    evaluation: EvaluationSettings
    draws: list[Draw]

    def files(self, results: Path) -> list[Path]:
        """The shards of all samples."""
        return [path for draw in self.draws for path in sorted((results / draw.folder).glob("shard_*.npz"))]


def _flat(change: dict) -> str:
    """Nested settings as one line, e.g. ``guidance.top_k = 10``."""
    words = []
    for key, value in change.items():
        inner = _flat(value).split(", ") if isinstance(value, dict) else [f"= {value}"]
        words += [f"{key}.{word}" if isinstance(value, dict) else f"{key} {word}" for word in inner]
    return ", ".join(words)
