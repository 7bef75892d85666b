"""What a tier's sections must agree on: names, sizes, files, and the experiments that artefacts ask for."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cca import models, objectives, plugins, tokenizers
from cca import resources as cluster
from cca.device import shapes_only
from cca.entries import ImportedFinetune, ImportedModel, TrainedTokenizer
from cca.errors import CCAError
from cca.evaluate.classifier import Classifier
from cca.evaluate.protocol import CLASSIFIER
from cca.experiments import BASE
from cca.files import require
from cca.pitfalls.plan import MEASURED
from cca.report.tables import place
from cca.theory.settings import SUMMARY
from cca.training.adversarial import Discriminator

if TYPE_CHECKING:
    from cca.config import Tier

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


def check(tier: "Tier") -> None:
    """Hold the sections of a tier against each other, before any job starts.

    Raises:
        CCAError: a name that is taken or may be no folder, parts that do not fit, a file that is missing, an
            experiment of what is not declared.
    """
    _check_names(tier)
    cluster.check(tier.resources)
    _check_parts_fit(tier)
    _check_processes(tier)
    _check_evaluation(tier)
    _check_perceptual(tier)
    _check_external(tier)
    _check_imported_finetunes(tier)
    _check_experiments(tier)
    _check_claims(tier)
    _check_sections(tier)
    _check_pitfalls(tier)


def check_reported(tier: "Tier", folder: Path) -> None:
    """Hold the reported rows that other systems stand beside against the tables' CSVs in ``folder``.

    Raises:
        CCAError: no such row.
    """
    beside = [system.reported for system in tier.external.values() if system.reported]
    for name, table in tier.tables.items():
        path = folder / f"{name}.csv"
        if table.shows_external and beside:
            frame = pd.read_csv(require(path))
            for model in beside:
                place(model, frame, path)


def _check_names(tier: "Tier") -> None:
    for section, taken in (
        ("tokenizers", set()),
        ("models", FOLDERS),
        ("finetunes", {BASE, "pairs"}),
        ("external", set()),
    ):
        for name in getattr(tier, section):
            _check_name(section, name, taken)
    titles = [model.title for model in tier.models.values()]
    if twice := {title for title in titles if titles.count(title) > 1}:
        raise CCAError(f"models: the title '{min(twice)}' is given to two models")


def _check_name(section: str, name: str, taken: set[str]) -> None:
    if not NAME.fullmatch(name):
        raise CCAError(f"{section}: the name '{name}' may hold letters, digits and . = + - _ only")
    if name in taken:
        raise CCAError(f"{section}: the name '{name}' is taken; taken are {', '.join(sorted(taken))}")


def _check_parts_fit(tier: "Tier") -> None:
    """Build every network without memory, and hold their sizes against each other's and the data's."""
    sources = plugins.names("cca.data.sources")
    if tier.data.source not in sources:
        raise CCAError(f"key 'data.source': '{tier.data.source}' is not one of: {', '.join(sources)}")
    built = {}
    size, channels = tier.data.image_size, tier.data.channels
    with shapes_only():
        for section in ("classifier", "perceptual"):
            if settings := getattr(tier, section):
                with _as_of(f"key '{section}.architecture'"):
                    Classifier(settings.architecture, size, channels, num_classes=2)
        for name, entry in tier.tokenizers.items():
            if isinstance(entry, TrainedTokenizer) and (judge := entry.training.adversarial):
                with _as_of(f"key 'tokenizers.{name}.training'"):
                    Discriminator(size, channels, judge.channels, judge.layers)
            built[name] = tokenizers.build(entry.kind, entry.architecture)
            own_crops = entry.codes.cropping != "none"  # cut from the source's images in any size
            for key in ("channels",) if own_crops else ("image_size", "channels"):
                ours, given = getattr(built[name], key), getattr(tier.data, key)
                if ours != given:
                    where = f"tokenizers.{name}.architecture.{key}"
                    raise CCAError(f"key '{where}' is {ours}, but 'data.{key}' is {given}")
        for name, model in tier.models.items():
            if model.tokenizer not in built:
                known = ", ".join(built)
                raise CCAError(f"key 'models.{name}.tokenizer': '{model.tokenizer}' is not one of: {known}")
            part = model.making
            models.build(part.family, part.architecture, built[model.tokenizer], num_classes=2)
            batches = -(-model.sampling.num_samples // model.sampling.batch_size)
            if tier.shards > batches:
                raise CCAError(
                    f"key 'shards': {tier.shards}, but models.{name}.sampling has {batches} batches"
                )


@contextmanager
def _as_of(where: str) -> Iterator[None]:
    """Say of which part of the tier a refused size is."""
    try:
        yield
    except CCAError as error:
        raise CCAError(f"{where}: {error}") from None


def _check_processes(tier: "Tier") -> None:
    """Batches divide among the processes that train a model together."""
    for rule, section in (("pretrain", "pretraining"), ("finetune", "finetuning")):
        count = cluster.of_rule(tier.resources, rule).processes
        for name, model in tier.models.items():
            training = getattr(model, section, None)  # an imported model is not pretrained
            if training and training.batch_size % count:
                raise CCAError(
                    f"key 'models.{name}.{section}.batch_size': {training.batch_size} does not divide "
                    f"among the {count} processes of rule '{rule}', one a GPU: change it, or its 'resources'"
                )


def _check_evaluation(tier: "Tier") -> None:
    """The extractor, its weights and the reference batch go together, and their files are there."""
    weights, reference, inception = (
        getattr(tier.evaluation, key) for key in ("weights", "reference", "inception")
    )
    if (tier.classifier is not None) != (tier.evaluation.extractor == CLASSIFIER):
        raise CCAError(
            f"section 'classifier' goes with evaluation.extractor '{CLASSIFIER}', and only with it"
        )
    if weights is not None and tier.classifier is not None:
        raise CCAError(
            f"key 'evaluation.weights' is not for the extractor '{CLASSIFIER}', which is trained "
            "as section 'classifier' says; remove the key"
        )
    if inception is not None and tier.classifier is None:
        raise CCAError(
            f"key 'evaluation.inception' goes with evaluation.extractor '{CLASSIFIER}': with "
            "Inception as extractor FID is Inception's already; remove the key"
        )
    if inception is not None and reference is not None:
        raise CCAError(
            "key 'evaluation.inception' wants a reference batch that is made of the images, for its "
            "statistics; remove 'evaluation.reference'"
        )
    for key, file in (("weights", weights), ("reference", reference), ("inception", inception)):
        if isinstance(file, Path) and not file.is_file():
            raise CCAError(f"key 'evaluation.{key}': {file}: no such file")


def _check_perceptual(tier: "Tier") -> None:
    """The perceptual network is there where it is wanted, and sees none of the evaluator's images."""
    wanted = [
        name
        for name, entry in tier.tokenizers.items()
        if isinstance(entry, TrainedTokenizer) and entry.training.perceptual
    ]
    if bool(wanted) != (tier.perceptual is not None):
        raise CCAError("section 'perceptual' goes with tokenizers.*.training.perceptual, and only with it")
    if tier.perceptual and tier.classifier:
        (first, last), (start, end) = tier.perceptual.share, tier.classifier.share
        if first < end and start < last:
            raise CCAError(
                f"perceptual.share {[first, last]} overlaps classifier.share {[start, end]}: the "
                "metrics' classifier must see none of the images that tokenizers are trained through"
            )


def _check_external(tier: "Tier") -> None:
    """Files are there, but for those that the DAG makes."""
    for name, system in tier.external.items():
        made = system.download or "{results}" in system.file
        if not made and not Path(system.file).is_file():
            raise CCAError(f"key 'external.{name}.file': {system.file}: no such file")


def _check_imported_finetunes(tier: "Tier") -> None:
    """They are of models that are imported too, whose sizes are thereby known."""
    for name, entry in tier.finetunes.items():
        for model in entry.checkpoints if isinstance(entry, ImportedFinetune) else ():
            if not isinstance(tier.models.get(model), ImportedModel):
                raise CCAError(
                    f"key 'finetunes.{name}.checkpoints': '{model}' is no model with a 'checkpoint'"
                )


def _check_experiments(tier: "Tier") -> None:
    finetunes = {BASE, *tier.finetunes}
    for e in tier.experiments():
        if e.model not in tier.models:
            raise CCAError(f"an experiment names the model '{e.model}', not one of: {', '.join(tier.models)}")
        if e.finetune not in finetunes:
            known = ", ".join(sorted(finetunes))
            raise CCAError(f"an experiment names the finetune '{e.finetune}', not one of: {known}")
        entry = tier.finetunes.get(e.finetune)
        if isinstance(entry, ImportedFinetune) and e.model not in entry.checkpoints:
            raise CCAError(
                f"an experiment names the finetune '{e.finetune}' of '{e.model}', but "
                f"finetunes.{e.finetune}.checkpoints has no file for that model"
            )
        _check_spelling("guidance scale", e.scale)
    for name in tier.models:
        for finetune in tier.finetunes:
            _check_spelling("mask rate", tier.mask_rate(name, finetune))


def _check_claims(tier: "Tier") -> None:
    """Sweeps rise along their axes, and the finetune without masking differs in nothing else."""
    for entry in tier.claims.models if tier.claims else ():
        where = f"claims of '{entry.model}'"
        _check_rises(f"{where}: cfg_sweep", entry.cfg_sweep)
        for key, parameter in (("lambda_sweep", "lam"), ("beta_sweep", "beta")):
            names = getattr(entry, key)
            found = [objectives.bind(tier.finetunes[name].objective).keywords for name in names]
            _check_rises(f"{where}: {key} {', '.join(names)}", [values.get(parameter) for values in found])
        if (both := entry.combined) and both.unmasked:
            one, other = (tier.finetunes[name].objective for name in (both.finetune, both.unmasked))
            if objectives.bind(one).keywords != objectives.bind(other).keywords:
                raise CCAError(f"{where}: '{both.finetune}' and '{both.unmasked}' differ in their objectives")


def _check_rises(where: str, values: Sequence[float | None]) -> None:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values) or any(after <= before for before, after in pairwise(numbers)):
        raise CCAError(f"{where}: the values of a sweep must rise, and these are {list(values)}")


def _check_sections(tier: "Tier") -> None:
    for section, made in (("pitfalls", MEASURED), ("theory", SUMMARY)):
        for name, figure in tier.figures.items():
            if made in figure.files() and getattr(tier, section) is None:
                raise CCAError(f"section '{section}' is missing, which the figure '{name}' is made of")
    for figure in tier.figures.values():
        figure.check(tier)


def _check_pitfalls(tier: "Tier") -> None:
    if tier.pitfalls is None:
        return
    for name in tier.pitfalls.sampling:
        _check_name("pitfalls.sampling", name, {"samples"})
        tier.sampling_variant(tier.pitfalls.model, tier.pitfalls.scale, name)


def _check_spelling(what: str, value: float) -> None:
    """Refuse a number that paths, where it is written in six digits without an exponent, cannot hold."""
    if value < 0 or not re.fullmatch(r"[\d.]+", f"{value:g}") or float(f"{value:g}") != value:
        raise CCAError(f"a {what} is {value}: it must be 0 or more, with at most six digits")
