"""A tier: everything that its results depend on, in one validated file."""

from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from cca import objectives, plugins
from cca.cost import Cost, CostSettings
from cca.data.codes import CodesSettings
from cca.data.images import DataSettings
from cca.errors import CCAError
from cca.evaluate.protocol import EvaluationSettings
from cca.experiments import BASE, Experiment
from cca.fakes import FakesSettings
from cca.files import parse_yaml
from cca.finetune import FinetuneSettings, Finetuning, Objective
from cca.pairs import PairsSettings
from cca.pretrain import PretrainSettings
from cca.report.claims.roles import TierClaims
from cca.report.figures import Figure
from cca.report.tables import Table
from cca.sampling import SamplingSettings
from cca.score import ScoreSettings
from cca.settings import Settings, validate
from cca.train_classifier import ClassifierSettings
from cca.train_tokenizer import TokenizerSettings


class TokenizerEntry(TokenizerSettings):
    """A tokenizer and the codes that are made with it."""

    codes: CodesSettings


class FinetuneEntry(Settings):
    """An objective, and the pairs that it is given where these are not the model's own."""

    objective: Objective
    mask_rate: float | None = Field(
        default=None, ge=0, le=1, description="in place of the model's pairs.mask_rate"
    )


class ModelEntry(Settings):
    """A model: its tokenizer, its training, how it is finetuned and sampled."""

    title: str = Field(description="its name in tables and figures")
    tokenizer: str
    pretraining: PretrainSettings
    pairs: PairsSettings
    finetuning: Finetuning
    sampling: SamplingSettings

    @model_validator(mode="after")
    def _scale_is_the_experiments(self) -> "ModelEntry":
        if self.sampling.guidance.scale != 0:
            raise ValueError(
                "sampling.guidance.scale is set by the experiments of tables and figures, not here"
            )
        return self


class Tier(Settings):
    """One benchmark: data, models, and the experiments of every table and figure."""

    benchmark: str = Field(
        min_length=1, description="name of the data set and protocol, a column of the tables"
    )
    data: DataSettings
    classifier: ClassifierSettings
    evaluation: EvaluationSettings
    tokenizers: dict[str, TokenizerEntry]
    models: dict[str, ModelEntry]
    shards: int = Field(default=1, ge=1, description="jobs that make the samples of one experiment")
    cost: Cost = Cost()
    finetunes: dict[str, FinetuneEntry]
    tables: Annotated[
        dict[str, SerializeAsAny[Table]],
        BeforeValidator(partial(plugins.configure_all, "cca.report.tables", "Table")),
    ]
    figures: Annotated[
        dict[str, SerializeAsAny[Figure]],
        BeforeValidator(partial(plugins.configure_all, "cca.report.figures", "Figure")),
    ]
    claims: TierClaims | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> "Tier":
        for name, model in self.models.items():
            if model.tokenizer not in self.tokenizers:
                raise ValueError(
                    f"models.{name}.tokenizer '{model.tokenizer}' is none of {list(self.tokenizers)}"
                )
        for name in [*self.models, *self.finetunes, *self.tokenizers]:
            if set(name) & set(",/ ") or name == BASE:
                raise ValueError(f"the name '{name}' may not be '{BASE}' or hold a comma, a slash or a space")
        for experiment in self.experiments():
            if experiment.model not in self.models:
                raise ValueError(
                    f"an experiment names the model '{experiment.model}', not one of {list(self.models)}"
                )
            if experiment.finetune not in {BASE, *self.finetunes}:
                raise ValueError(
                    f"an experiment names the finetune '{experiment.finetune}', not one of "
                    f"{[BASE, *self.finetunes]}"
                )
        return self

    def experiments(self) -> list[Experiment]:
        """Every experiment that a table, a figure or a claim needs, once."""
        artefacts = [*self.tables.values(), *self.figures.values(), *([self.claims] if self.claims else [])]
        return sorted({experiment for artefact in artefacts for experiment in artefact.experiments()})

    def mask_rate(self, model: str, finetune: str) -> float:
        """Share of masked pairs that a finetune of a model sees."""
        rate = self.finetunes[finetune].mask_rate
        return self.models[model].pairs.mask_rate if rate is None else rate

    def pairs(self, model: str, mask_rate: float) -> PairsSettings:
        """Settings of stage ``pairs``."""
        return self.models[model].pairs.model_copy(update={"mask_rate": mask_rate})

    def score(self, model: str) -> ScoreSettings:
        """Settings of stage ``score``."""
        return ScoreSettings(dropout=self.models[model].finetuning.dropout)

    def fakes(self, model: str) -> FakesSettings:
        """Settings of stage ``fakes``."""
        return FakesSettings(batch_size=self.models[model].sampling.batch_size)

    def contrasts_samples(self, finetune: str) -> bool:
        """Whether a finetune's negatives are samples of the base model."""
        return objectives.contrasts_samples(self.finetunes[finetune].objective)

    def finetune(self, model: str, finetune: str) -> FinetuneSettings:
        """Settings of stage ``finetune``."""
        common = self.models[model].finetuning.model_dump()
        return FinetuneSettings(objective=self.finetunes[finetune].objective, **common)

    def sampling(self, model: str, scale: float) -> SamplingSettings:
        """Settings of stage ``sample`` at one guidance scale."""
        settings = self.models[model].sampling
        return settings.model_copy(update={"guidance": settings.guidance.model_copy(update={"scale": scale})})

    def cost_of(self, model: str) -> CostSettings:
        """Settings of stage ``cost``."""
        return CostSettings(guidance=self.models[model].sampling.guidance, **self.cost.model_dump())


def load_tier(name: str, folder: Path, overrides: dict | None = None) -> Tier:
    """The tier ``name`` of ``folder``, with ``overrides`` merged into it key by key.

    Raises:
        CCAError: no such tier, or a key or value that the schema does not allow.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        tiers = ", ".join(sorted(entry.stem for entry in folder.glob("*.yaml")))
        raise CCAError(f"tier '{name}' is not one of: {tiers}")
    values = parse_yaml(path.read_text(), str(path))
    if not isinstance(values, dict):
        raise CCAError(f"{path}: a tier file is a mapping of sections")
    return validate(Tier, merge(values, overrides or {}), str(path))


def merge(values: dict, overrides: dict) -> dict:
    """``values`` with the leaves of ``overrides`` put in their places."""
    merged = dict(values)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
