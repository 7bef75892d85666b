"""A tier: everything that its results depend on, in one validated file."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from cca import models, objectives, plugins, presets, tokenizers
from cca import resources as cluster
from cca.data.images import DataSettings
from cca.device import shapes_only
from cca.entries import (
    Checkpoint,
    FinetuneEntry,
    ImportedFinetune,
    ImportedModel,
    ImportedTokenizer,
    ModelEntry,
    TokenizerEntry,
    TrainedTokenizer,
)
from cca.errors import CCAError
from cca.evaluate.protocol import CLASSIFIER, INCEPTION, EvaluationSettings
from cca.experiments import BASE, Experiment
from cca.external import External
from cca.files import read_yaml, require
from cca.files.fetch import FetchSettings
from cca.pitfalls.plan import MEASURED, PitfallsSettings, TierPitfalls
from cca.report.claims.roles import TierClaims
from cca.report.figures import Figure, FigureSettings
from cca.report.tables import Table, TableSettings, place
from cca.settings import Settings, as_value_error, merge, validate
from cca.stages.cost import Cost, CostSettings
from cca.stages.fakes import FakesSettings
from cca.stages.finetune import FinetuneSettings
from cca.stages.pairs import PairsSettings
from cca.stages.sampling import SamplingSettings
from cca.stages.score import ScoreSettings
from cca.stages.train_classifier import ClassifierSettings
from cca.theory.settings import SUMMARY, TheorySettings

FOLDERS = {
    "claims",
    "data",
    "external",
    "features",
    "figures",
    "logs",
    "pitfalls",
    "reference",
    "tables",
    "theory",
    "tokenizers",
}
"""Folders of a tier's results beside those of its models."""
NAME = re.compile(r"(?!\.\.?$)[\w.=+-]+")
"""What may be a folder's name in the results: no path, and neither the folder itself nor the one above."""


def check_spelling(what: str, value: float) -> None:
    """Refuse a number that paths, where it is written in six digits without an exponent, cannot hold."""
    if value < 0 or not re.fullmatch(r"[\d.]+", f"{value:g}") or float(f"{value:g}") != value:
        raise CCAError(f"a {what} is {value}: it must be 0 or more, with at most six digits")


def _as_url(value: Any) -> Any:
    """A bare URL as `FetchSettings` has it."""
    return {"url": value} if isinstance(value, str) and "://" in value else value


class EvaluationEntry(EvaluationSettings):
    """The protocol and, where the DAG does not train the extractor, its weights."""

    weights: Path | None = Field(default=None, description="file; without it Inception's are downloaded")
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
            self._check_names()
            cluster.check(self.resources)
            self._check_parts_fit()
            self._check_external()
            self._check_imported_finetunes()
            self._check_experiments()
            self._check_sections()
            self._check_pitfalls()
        return self

    def _check_names(self) -> None:
        for section, taken in (
            ("tokenizers", set()),
            ("models", FOLDERS),
            ("finetunes", {BASE, "pairs"}),
            ("external", set()),
        ):
            for name in getattr(self, section):
                if not NAME.fullmatch(name):
                    raise CCAError(
                        f"{section}: the name '{name}' may hold letters, digits and . = + - _ only"
                    )
                if name in taken:
                    raise CCAError(
                        f"{section}: the name '{name}' is taken; taken are {', '.join(sorted(taken))}"
                    )
        titles = [model.title for model in self.models.values()]
        if twice := {title for title in titles if titles.count(title) > 1}:
            raise CCAError(f"models: the title '{min(twice)}' is given to two models")

    def _check_parts_fit(self) -> None:
        """Build every network without memory, and hold their sizes against the data's."""
        sources = plugins.names("cca.data.sources")
        if self.data.source not in sources:
            raise CCAError(f"key 'data.source': '{self.data.source}' is not one of: {', '.join(sources)}")
        built = {}
        with shapes_only():
            for name, entry in self.tokenizers.items():
                built[name] = tokenizers.build(entry.kind, entry.architecture)
                own_crops = entry.codes.cropping != "none"  # cut from the source's images in any size
                for key in ("channels",) if own_crops else ("image_size", "channels"):
                    ours, given = getattr(built[name], key), getattr(self.data, key)
                    if ours != given:
                        where = f"tokenizers.{name}.architecture.{key}"
                        raise CCAError(f"key '{where}' is {ours}, but 'data.{key}' is {given}")
            for name, model in self.models.items():
                if model.tokenizer not in built:
                    known = ", ".join(built)
                    raise CCAError(
                        f"key 'models.{name}.tokenizer': '{model.tokenizer}' is not one of: {known}"
                    )
                part = model.making
                models.build(part.family, part.architecture, built[model.tokenizer], num_classes=2)
                batches = -(-model.sampling.num_samples // model.sampling.batch_size)
                if self.shards > batches:
                    raise CCAError(
                        f"key 'shards': {self.shards}, but models.{name}.sampling has {batches} batches"
                    )
        if (self.classifier is not None) != (self.evaluation.extractor == CLASSIFIER):
            raise CCAError(
                f"section 'classifier' goes with evaluation.extractor '{CLASSIFIER}', and only with it"
            )
        if (weights := self.evaluation.weights) is not None:
            if self.classifier is not None:
                raise CCAError(
                    f"key 'evaluation.weights' is not for the extractor '{CLASSIFIER}', which is trained "
                    "as section 'classifier' says; remove the key"
                )
            if not weights.is_file():
                raise CCAError(f"key 'evaluation.weights': {weights}: no such file")
        reference = self.evaluation.reference
        if isinstance(reference, Path) and not reference.is_file():
            raise CCAError(f"key 'evaluation.reference': {reference}: no such file")
        if (inception := self.evaluation.inception) is not None:
            if self.classifier is None:
                raise CCAError(
                    f"key 'evaluation.inception' goes with evaluation.extractor '{CLASSIFIER}': with "
                    "Inception as extractor FID is Inception's already; remove the key"
                )
            if reference is not None:
                raise CCAError(
                    "key 'evaluation.inception' wants a reference batch that is made of the images, for its "
                    "statistics; remove 'evaluation.reference'"
                )
            if isinstance(inception, Path) and not inception.is_file():
                raise CCAError(f"key 'evaluation.inception': {inception}: no such file")
        self._check_perceptual()

    def _check_perceptual(self) -> None:
        """The perceptual network is there where it is wanted, and sees none of the evaluator's images."""
        wanted = [
            name
            for name, entry in self.tokenizers.items()
            if isinstance(entry, TrainedTokenizer) and entry.training.perceptual
        ]
        if bool(wanted) != (self.perceptual is not None):
            raise CCAError(
                "section 'perceptual' goes with tokenizers.*.training.perceptual, and only with it"
            )
        if self.perceptual and self.classifier:
            (first, last), (start, end) = self.perceptual.share, self.classifier.share
            if first < end and start < last:
                raise CCAError(
                    f"perceptual.share {[first, last]} overlaps classifier.share {[start, end]}: the "
                    "metrics' classifier must see none of the images that tokenizers are trained through"
                )

    def _check_external(self) -> None:
        """Files are there, but for those that the DAG makes."""
        for name, system in self.external.items():
            made = system.download or "{results}" in system.file
            if not made and not Path(system.file).is_file():
                raise CCAError(f"key 'external.{name}.file': {system.file}: no such file")

    def _check_imported_finetunes(self) -> None:
        """They are of models that are imported too, whose sizes are thereby known."""
        for name, entry in self.finetunes.items():
            for model in entry.checkpoints if isinstance(entry, ImportedFinetune) else ():
                if not isinstance(self.models.get(model), ImportedModel):
                    raise CCAError(
                        f"key 'finetunes.{name}.checkpoints': '{model}' is no model with a 'checkpoint'"
                    )

    def check_reported(self, folder: Path) -> None:
        """Hold the reported rows that other systems stand beside against the tables' CSVs in ``folder``.

        Raises:
            CCAError: no such row.
        """
        beside = [system.reported for system in self.external.values() if system.reported]
        for name, table in self.tables.items():
            path = folder / f"{name}.csv"
            if table.shows_external and beside:
                frame = pd.read_csv(require(path))
                for model in beside:
                    place(model, frame, path)

    def _check_experiments(self) -> None:
        finetunes = {BASE, *self.finetunes}
        for e in self.experiments():
            if e.model not in self.models:
                raise CCAError(
                    f"an experiment names the model '{e.model}', not one of: {', '.join(self.models)}"
                )
            if e.finetune not in finetunes:
                known = ", ".join(sorted(finetunes))
                raise CCAError(f"an experiment names the finetune '{e.finetune}', not one of: {known}")
            entry = self.finetunes.get(e.finetune)
            if isinstance(entry, ImportedFinetune) and e.model not in entry.checkpoints:
                raise CCAError(
                    f"an experiment names the finetune '{e.finetune}' of '{e.model}', but "
                    f"finetunes.{e.finetune}.checkpoints has no file for that model"
                )
            if e.seed < 0:
                raise CCAError(f"an experiment of '{e.model}' has the seed {e.seed}: seeds are 0 or more")
            check_spelling("guidance scale", e.scale)
        for name in self.models:
            for finetune in self.finetunes:
                check_spelling("mask rate", self.mask_rate(name, finetune))

    def _check_sections(self) -> None:
        for section, made in (("pitfalls", MEASURED), ("theory", SUMMARY)):
            for name, figure in self.figures.items():
                if made in figure.files() and getattr(self, section) is None:
                    raise CCAError(f"section '{section}' is missing, which the figure '{name}' is made of")
        for figure in self.figures.values():
            figure.check(self)

    def _check_pitfalls(self) -> None:
        if self.pitfalls is None:
            return
        for name in self.pitfalls.sampling:
            if not NAME.fullmatch(name) or name == "samples":
                raise CCAError(
                    f"pitfalls.sampling: the name '{name}' may hold letters, digits and . = + - _ only"
                )
            self.sampling_variant(self.pitfalls.model, self.pitfalls.scale, name)

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
        entry = self.finetunes[finetune]
        rate = None if isinstance(entry, ImportedFinetune) else entry.mask_rate
        return self.models[model].pairs.mask_rate if rate is None else rate

    def pairs(self, model: str, mask_rate: float) -> PairsSettings:
        """Settings of stage ``pairs``."""
        return self.models[model].pairs.model_copy(update={"mask_rate": mask_rate})

    def score(self, model: str) -> ScoreSettings:
        """Settings of stage ``score``."""
        settings = self.models[model].finetuning
        return ScoreSettings(dropout=settings.dropout, precision=settings.precision)

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

    def cost_of(self, model: str) -> CostSettings:
        """Settings of stage ``cost``."""
        return CostSettings(guidance=self.models[model].sampling.guidance, **self.cost.model_dump())

    def table(self, name: str) -> TableSettings:
        """Settings of stage ``report table``."""
        table = self.tables[name]
        external = self.external if table.shows_external else {}
        inception = table.shows_inception and self.evaluation.inception is not None
        return TableSettings(**self._artefact(name, table), external=external, inception=inception)

    def figure(self, name: str) -> FigureSettings:
        """Settings of stage ``report figure``."""
        return FigureSettings(**self._artefact(name, self.figures[name]))

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
        }


def load_tier(name: str, folder: Path, overrides: dict | None = None) -> Tier:
    """The tier ``name`` of ``folder``, with its preset and then ``overrides`` merged into it key by key.

    Raises:
        CCAError: no such tier or preset, a key or value that the schema does not allow, or a reported row
            that is not in ``resources/reported`` beside ``folder``.
    """
    path = folder / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        tiers = ", ".join(sorted(entry.stem for entry in folder.glob("*.yaml")))
        raise CCAError(f"tier '{name}' is not one of: {tiers}")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise CCAError(f"{path}: a tier file is a mapping of sections")
    try:
        values = presets.take(values, overrides or {})
    except CCAError as error:
        raise CCAError(f"{path}: {error}") from None
    tier = validate(Tier, values, str(path))
    tier.check_reported(folder.parent / "resources/reported")
    return tier
