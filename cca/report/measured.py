"""The measurements of a tier, as tables and figures want them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from cca import checkpoints, experiments, objectives
from cca.errors import CCAError
from cca.evaluate.protocol import METRICS
from cca.experiments import BASE, Experiment
from cca.external import External
from cca.files import read_json
from cca.report import style
from cca.settings import Settings


class Context(Settings):
    """What a table or figure needs to know of its tier beside the measurements."""

    benchmark: str
    titles: dict[str, str] = Field(description="the name of each model as it is printed")
    objectives: dict[str, dict] = Field(default={}, description="the objective of each finetune")
    mask_rates: dict[str, float] = Field(
        default={}, description="of the finetunes that do not take their model's"
    )
    shards: int = Field(default=1, description="files of an experiment's samples, where these are shown")
    external: dict[str, External] = Field(default={}, description="other systems, where they have rows")
    tokenizers: dict[str, str] = Field(default={}, description="the tokenizer of each model")
    inception: bool = Field(default=False, description="whether FID by Inception's features is shown too")

    def qualities(self, models: list[str]) -> list[Path]:
        """The measurements of these models' tokenizers, below the tier's results."""
        return [experiments.quality(name) for name in dict.fromkeys(self.tokenizers[m] for m in models)]


@dataclass(frozen=True)
class Measured:
    """The results of a tier: the folder that holds the experiments, and its context."""

    folder: Path
    context: Context

    def metrics(self, experiment: Experiment) -> dict:
        """The content of one ``metrics.json``; a metric that has no value there is NaN.

        Raises:
            CCAError: missing or damaged file, or one that lacks a metric.
        """
        return self._read(self.folder / experiment.metrics)

    def external(self, name: str) -> dict:
        """The same of another system's samples.

        Raises:
            CCAError: as `metrics`, or they were computed on another file than the tier names.
        """
        path = self.folder / experiments.external(name)
        values, wanted = self._read(path), self.context.external[name].sha256
        if wanted not in (None, found := values["samples_sha256"]):
            raise CCAError(
                f"{path}: computed on a file of SHA-256 {found}, but 'external.{name}.sha256' is {wanted}: "
                "get that file, or correct the key"
            )
        if self.context.inception:
            values["fid_inception"] = self._by_inception(experiments.external(name))
        return values

    def _by_inception(self, metrics: Path) -> float:
        """FID by Inception's features of the samples that ``metrics`` are of."""
        one, other = (self._read(self.folder / path) for path in (metrics, experiments.by_inception(metrics)))
        if one["samples_sha256"] != other["samples_sha256"]:
            raise CCAError(
                f"{self.folder / experiments.by_inception(metrics)}: of other samples than {metrics.name} "
                "beside it; delete both and evaluate again"
            )
        return other["fid"]

    @staticmethod
    def _read(path: Path) -> dict:
        values = read_json(path)
        if missing := [name for name in METRICS if name not in values]:
            raise CCAError(f"{path}: '{missing[0]}' is missing; delete it and evaluate again")
        return values | {name: float("nan") for name in METRICS if values[name] is None}

    def summary(self, model: str, finetune: str, seeds: list[int], scale: float) -> dict[str, float]:
        """Mean of each metric over seeds, and with more than one seed ``<metric>_std`` (ddof 1).

        Where the context has Inception, ``fid_inception`` is one of them.
        """
        chosen = [Experiment(model, finetune, seed, scale) for seed in seeds]
        runs = [self.metrics(experiment) for experiment in chosen]
        summary: dict[str, float] = {}
        for name in METRICS:
            summary |= _over_seeds(name, [run[name] for run in runs])
        if self.context.inception:
            summary |= _over_seeds("fid_inception", [self._by_inception(one.metrics) for one in chosen])
        return summary | {"num_samples": runs[0]["num_samples"]}

    def quality(self, tokenizer: str) -> dict[str, float]:
        """The content of a tokenizer's ``quality.json``.

        Raises:
            CCAError: missing or damaged file, or one that lacks its rFID or the number of images.
        """
        path = self.folder / experiments.quality(tokenizer)
        values = read_json(path)
        for key in ("rfid", "num_images"):
            if key not in values:
                raise CCAError(f"{path}: '{key}' is missing; delete it and measure again")
        return values

    def rfid(self, model: str) -> float:
        """FID of the training images as a model's tokenizer reconstructs them."""
        return self.quality(self.context.tokenizers[model])["rfid"]

    def parameters(self, model: str) -> int:
        """Number of parameters of a model."""
        return checkpoints.metadata(self.folder / Experiment(model, BASE, 0, 0).checkpoint)["parameters"]

    def objective(self, finetune: str) -> dict:
        """Name and parameters of a finetune's objective, defaults filled in; empty for the base model."""
        if finetune == BASE:
            return {}
        spec = self.context.objectives[finetune]
        return {"name": spec["name"], **objectives.bind(spec).keywords}

    def title(self, model: str, finetune: str = BASE) -> str:
        """A model's name as it is printed, e.g. ``LlamaGen-S +CCA (β = 0.02, λ = 1)``."""
        title = self.context.titles[model]
        return title if finetune == BASE else f"{title} +{self.method(finetune)}"

    def method(self, finetune: str) -> str:
        """A finetune's objective as it is printed, e.g. ``CCA (β = 0.02, λ = 1)``.

        A finetune with the objective of another one has its own name behind that, in brackets.
        """
        name, *parameters = self.objective(finetune).items()
        shown = ((key, f"{v:g}" if isinstance(v, int | float) else v) for key, v in parameters)
        values = [f"{style.SYMBOLS.get(key, key)} = {text}" for key, text in shown]
        if (rate := self.context.mask_rates.get(finetune)) is not None:
            values.append(f"mask rate {rate:g}" if rate else "no masking")
        method = style.look(name[1])["label"] + (f" ({', '.join(values)})" if values else "")
        others = [self.training(other) for other in self.context.objectives if other != finetune]
        return f"{method} [{finetune}]" if self.training(finetune) in others else method

    def training(self, finetune: str) -> dict:
        """`objective`, and the mask rate where it is not the model's: what a finetune is named after."""
        return self.objective(finetune) | {"mask_rate": self.context.mask_rates.get(finetune)}


def _over_seeds(name: str, values: list[float]) -> dict[str, float]:
    deviation = {f"{name}_std": float(np.std(values, ddof=1))} if len(values) > 1 else {}
    return {name: float(np.mean(values)), **deviation}
