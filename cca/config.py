"""A tier: everything that its results depend on, in one validated file."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from cca import checks, objectives, plugins, presets
from cca import resources as cluster
from cca.data.images import DataSettings
from cca.entries import (
    CHECKPOINTS,
    Checkpoint,
    FinetuneEntry,
    ImportedFinetune,
    ImportedModel,
    ImportedTokenizer,
    ModelEntry,
    TokenizerEntry,
)
from cca.errors import CCAError
from cca.evaluate.protocol import INCEPTION, INCEPTION_SHA256, INCEPTION_URL, EvaluationSettings
from cca.experiments import BASE, Experiment
from cca.external import External
from cca.files import read_yaml
from cca.files.fetch import FetchSettings
from cca.pitfalls.plan import PitfallsSettings, TierPitfalls
from cca.report.claims import ClaimsSettings
from cca.report.claims.roles import TierClaims
from cca.report.figures import Figure, FigureSettings
from cca.report.tables import Table, TableSettings
from cca.settings import Settings, as_value_error, merge, validate
from cca.stages.cost import Cost, CostSettings
from cca.stages.fakes import FakesSettings
from cca.stages.finetune import FinetuneSettings
from cca.stages.pairs import PairsSettings
from cca.stages.sampling import SamplingSettings
from cca.stages.score import ScoreSettings
from cca.stages.train_classifier import ClassifierSettings
from cca.theory.settings import TheorySettings

SCORED_AT_ONCE = 4
"""Times the pairs that a finetuning process holds, of both sides and with all activations."""


def _as_url(value: Any) -> Any:
    """A bare URL as `FetchSettings` has it."""
    return {"url": value} if isinstance(value, str) and "://" in value else value


INCEPTION_WEIGHTS = FetchSettings(url=INCEPTION_URL, sha256=INCEPTION_SHA256)
FETCHED_INCEPTION = CHECKPOINTS / "torch-fidelity" / Path(INCEPTION_URL).name
"""Where Inception's weights are fetched to, for all tiers."""


class EvaluationEntry(EvaluationSettings):
    """The protocol and, where the DAG does not train the extractor, its weights."""

    weights: Path | None = Field(default=None, description="file; without it Inception's are fetched")
    reference: Annotated[FetchSettings | Path | None, BeforeValidator(_as_url)] = Field(
        default=None,
        description="an ADM .npz to compare with, a file or a URL; without it one is made of the images",
    )
    inception: Literal["download"] | Path | None = Field(
        default=None,
        description="adds FID by torch-fidelity's Inception to table 2; its file of weights, or 'download'",
    )

    @property
    def protocol(self) -> EvaluationSettings:
        """What stages are given."""
        return EvaluationSettings(**self.model_dump(include=set(EvaluationSettings.model_fields)))

    @property
    def own_weights(self) -> Path | None:
        """Where the extractor's weights are once fetched; None for those that it trains or finds itself."""
        return self.weights or (FETCHED_INCEPTION if self.extractor == INCEPTION else None)

    @property
    def inception_weights(self) -> Path | None:
        """The same of `by_inception`; None where that is not measured."""
        return FETCHED_INCEPTION if self.inception == "download" else self.inception

    @property
    def by_inception(self) -> EvaluationSettings:
        """The same with Inception's features."""
        return self.protocol.model_copy(update={"extractor": INCEPTION})


class Tier(Settings):
    """One benchmark: data, models, and the experiments of every table and figure."""

    benchmark: str = Field(
        min_length=1, description="name of the data set and protocol, a column of the tables"
    )
    preset: Literal["cpu", "gpu"] | None = Field(
        default=None, exclude=True, description="whose sizes these are, where the file has presets"
    )
    data: DataSettings
    classifier: ClassifierSettings | None = Field(default=None, description="of extractor cca-classifier")
    perceptual: ClassifierSettings | None = Field(default=None, description="of the tokenizers' losses")
    evaluation: EvaluationEntry
    tokenizers: dict[str, TokenizerEntry]
    models: dict[str, ModelEntry]
    shards: int = Field(default=1, ge=1, description="jobs that make the samples of one experiment")
    code_shards: int = Field(default=1, ge=1, description="jobs that encode the images for one tokenizer")
    score_shards: int = Field(default=1, ge=1, description="jobs that score the pairs of one model and seed")
    keep_every: float = Field(
        default=60, ge=0, description="seconds between two writings of a training's state; moves no result"
    )
    resources: dict[str, cluster.Resources] = Field(
        default={}, description="what jobs ask of a scheduler, by rule; moves no result"
    )
    cost: Cost = Cost()
    theory: TheorySettings | None = Field(default=None, description="of the exact small worlds")
    finetunes: dict[str, FinetuneEntry]
    external: dict[str, External] = Field(default={}, description="other systems, rows of table 2")
    tables: Annotated[
        dict[str, SerializeAsAny[Table]],
        BeforeValidator(partial(plugins.configure_all, "cca.report.tables", "Table")),
    ]
    figures: Annotated[
        dict[str, SerializeAsAny[Figure]],
        BeforeValidator(partial(plugins.configure_all, "cca.report.figures", "Figure")),
    ]
    claims: TierClaims | None = None
    pitfalls: TierPitfalls | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> "Tier":
        with as_value_error():
            checks.check(self)
        return self

    def experiments(self) -> list[Experiment]:
        """Every experiment that a table, a figure, a claim or a pitfall needs, once."""
        others = [section for section in (self.claims, self.pitfalls) if section]
        artefacts = [*self.tables.values(), *self.figures.values(), *others]
        return sorted({experiment for artefact in artefacts for experiment in artefact.experiments()})

    def checkpoints(self) -> list[Checkpoint]:
        """Every file of official weights that an entry imports."""
        entries = [*self.tokenizers.values(), *self.models.values()]
        weights = [entry for entry in entries if isinstance(entry, ImportedTokenizer | ImportedModel)]
        finetunes = [entry for entry in self.finetunes.values() if isinstance(entry, ImportedFinetune)]
        elsewhere = [file for entry in finetunes for file in entry.checkpoints.values()]
        return [*(entry.checkpoint for entry in weights), *elsewhere]

    def mask_rate(self, model: str, finetune: str) -> float:
        """Share of masked pairs that a finetune of a model sees."""
        rate = self._own_mask_rate(finetune)
        return self.models[model].pairs.mask_rate if rate is None else rate

    def _own_mask_rate(self, finetune: str) -> float | None:
        entry = self.finetunes[finetune]
        return None if isinstance(entry, ImportedFinetune) else entry.mask_rate

    def pairs(self, model: str, mask_rate: float) -> PairsSettings:
        """Settings of stage ``pairs``."""
        return self.models[model].pairs.model_copy(update={"mask_rate": mask_rate})

    def score(self, model: str) -> ScoreSettings:
        """Settings of stage ``score``, which keeps no activations and so takes more pairs at a time."""
        settings = self.models[model].finetuning
        together = SCORED_AT_ONCE * (settings.micro_batch or settings.batch_size)
        return ScoreSettings(batch_size=together, dropout=settings.dropout, precision=settings.precision)

    def fakes(self, model: str) -> FakesSettings:
        """Settings of stage ``fakes``."""
        sampling = self.models[model].sampling
        return FakesSettings(batch_size=sampling.batch_size, precision=sampling.precision)

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

    def sampling_variant(self, model: str, scale: float, variant: str) -> SamplingSettings:
        """The same with what section ``pitfalls`` changes under the name ``variant``."""
        assert self.pitfalls is not None
        right = self.sampling(model, scale).model_dump(mode="json")
        where = f"pitfalls.sampling.{variant}"
        return validate(SamplingSettings, merge(right, self.pitfalls.sampling[variant]), where)

    def measured_pitfalls(self) -> PitfallsSettings:
        """Settings of stage ``pitfalls``, of a tier that has the section."""
        assert self.pitfalls is not None
        count = self.models[self.pitfalls.model].sampling.num_samples
        split = {"is_split_size": max(count // self.pitfalls.splits, 1)}
        return PitfallsSettings(
            benchmark=self.benchmark,
            evaluation=self.evaluation.model_copy(update=split),
            draws=self.pitfalls.draws(self.shards),
        )

    def judged_claims(self) -> ClaimsSettings:
        """Settings of stage ``claims``, of a tier that has the section."""
        assert self.claims is not None
        models = {entry.model: self.models[entry.model] for entry in self.claims.models}
        return ClaimsSettings(
            benchmark=self.benchmark,
            titles={name: model.title for name, model in models.items()},
            families={name: model.making.family for name, model in models.items()},
            imported=sorted(name for name, entry in self.finetunes.items() if entry.imported),
            content=self.claims,
        )

    def cost_of(self, model: str) -> CostSettings:
        """Settings of stage ``cost``."""
        sampling = self.models[model].sampling
        of_model = {"guidance": sampling.guidance, "precision": sampling.precision}
        return CostSettings(**of_model, **self.cost.model_dump())

    def table(self, name: str) -> TableSettings:
        """Settings of stage ``report table``."""
        table = self.tables[name]
        external = self.external if table.shows_external else {}
        inception = table.shows_inception and self.evaluation.inception is not None
        return TableSettings(**self._artefact(name, table), external=external, inception=inception)

    def figure(self, name: str) -> FigureSettings:
        """Settings of stage ``report figure``."""
        figure = self.figures[name]
        shards = {"shards": self.shards} if figure.samples_of() else {}
        return FigureSettings(**self._artefact(name, figure), **shards)

    def _artefact(self, name: str, artefact: Table | Figure) -> dict:
        shown = artefact.experiments()
        return {
            "name": name,
            "content": artefact.model_dump(mode="json"),
            "benchmark": self.benchmark,
            "titles": {e.model: self.models[e.model].title for e in shown},
            "tokenizers": {e.model: self.models[e.model].tokenizer for e in shown},
            "objectives": {
                e.finetune: self.finetunes[e.finetune].objective for e in shown if e.finetune != BASE
            },
            "mask_rates": {
                e.finetune: rate
                for e in shown
                if e.finetune != BASE and (rate := self._own_mask_rate(e.finetune)) is not None
            },
        }


def nulls(value: Any) -> Any:
    """Values of Snakemake's ``--config``, which reads ``null`` as text; that is no key's value."""
    if isinstance(value, dict):
        return {key: nulls(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [nulls(entry) for entry in value]
    return None if value == "null" else value


def load_tier(name: str, folder: Path, overrides: dict | None = None) -> Tier:
    """The tier ``name`` of ``folder``, with its preset and then ``overrides`` merged into it key by key.

    Raises:
        CCAError: no such tier or preset, a key or value that the schema does not allow, or a reported row
            that is not in ``resources/reported`` beside ``folder``.
    """
    path = folder / f"{name}.yaml"
    if not checks.NAME.fullmatch(name) or not path.is_file():
        tiers = ", ".join(sorted(entry.stem for entry in folder.glob("*.yaml")))
        if not tiers:
            raise CCAError(f"{folder}: no tier files there; run this in the repository, or name their folder")
        raise CCAError(f"tier '{name}' is not one of: {tiers}")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise CCAError(f"{path}: a tier file is a mapping of sections")
    where = f"{path} with overrides" if overrides else str(path)
    try:
        values = presets.take(values, nulls(overrides or {}))
    except CCAError as error:
        raise CCAError(f"{where}: {error}") from None
    tier = validate(Tier, values, where)
    checks.check_reported(tier, folder.parent / "resources/reported")
    return tier
