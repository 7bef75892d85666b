"""Whether results are a tier's: the settings in their records against those that the tier gives."""

import os
from collections.abc import Iterable
from pathlib import Path

from cca.config import Tier
from cca.errors import CCAError
from cca.experiments import BASE
from cca.records.lineage import File
from cca.settings import Settings, validate

PLACES = {"root"}
"""Settings that say where data lie, not what they are."""


def check(tier: Tier, name: str, results: Path, files: Iterable[File]) -> None:
    """Hold records against the tier ``name``; those of its data, trainings, samples, metrics and artefacts.

    Args:
        results: the folder of the tier's results.
        files: what is to be held, as `cca.records.lineage.trace` finds it.

    Raises:
        CCAError: one was made with other settings.
    """
    wanted = expected(tier)
    for file in files:
        settings = wanted.get(os.path.relpath(file.place, results))
        if settings is None or file.record is None:
            continue
        where = f"{file.place}: not made with the settings of tier '{name}'"
        if tier.preset:
            where += f" and preset '{tier.preset}'"
        made = validate(type(settings), file.record["settings"], where)
        one, other = (given.model_dump(mode="json", exclude=PLACES) for given in (made, settings))
        if differing := [key for key in one if one[key] != other[key]]:
            raise CCAError(
                f"{where}: '{differing[0]}' is another; make it again, or name the tier that it is of"
            )


def expected(tier: Tier) -> dict[str, Settings]:
    """Settings of what the DAG makes, by path below the tier's results; of imported weights none."""
    found: dict[str, Settings | None] = {
        "data/images.npz": tier.data,
        "features/classifier.safetensors": tier.classifier,
        "features/perceptual.safetensors": tier.perceptual,
        "theory/theory.csv": tier.theory,
        "claims/claims.csv": tier.judged_claims() if tier.claims else None,
    }
    for tokenizer, coder in tier.tokenizers.items():
        found[f"tokenizers/{tokenizer}/tokenizer.safetensors"] = None if coder.imported else coder.making
    for model, entry in tier.models.items():
        found[f"{model}/{BASE}/model.safetensors"] = None if entry.imported else entry.making
    for experiment in tier.experiments():
        if experiment.finetune != BASE and not tier.finetunes[experiment.finetune].imported:
            found[str(experiment.checkpoint)] = tier.finetune(experiment.model, experiment.finetune)
        samples = experiment.samples(tier.shards)
        for shard in range(tier.shards):
            settings = tier.sampling(experiment.model, experiment.scale)
            found[str(samples.with_name(f"shard_{shard}.npz"))] = settings
        found[str(experiment.metrics)] = tier.evaluation.protocol
    found |= {f"tables/{table}.csv": tier.table(table) for table in tier.tables}
    found |= {f"figures/{figure}.pdf": tier.figure(figure) for figure in tier.figures}
    return {path: settings for path, settings in found.items() if settings}
