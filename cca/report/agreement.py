"""Whether results are a tier's: the settings in their records against those that the tier gives."""

import os
from collections.abc import Iterable
from pathlib import Path

from cca.config import Tier
from cca.entries import ImportedFinetune, ImportedModel
from cca.errors import CCAError
from cca.experiments import BASE, Experiment, by_inception, cost, external, quality
from cca.pitfalls.plan import MEASURED, folder
from cca.records.lineage import File
from cca.settings import Settings, validate
from cca.theory.settings import SUMMARY

PLACES = {"root"}
"""Settings that say where data lie, not what they are."""


def check(tier: Tier, name: str, results: Path, files: Iterable[File]) -> None:
    """Hold the records of what the DAG makes against the tier ``name``.

    Args:
        results: the folder of the tier's results.
        files: what is to be held, as `cca.records.lineage.trace` finds it.

    Raises:
        CCAError: one was made with other settings.
    """
    wanted = expected(tier)
    for file in files:
        if file.record is None:
            continue
        output = file.place.with_name(Path(file.record["output"]["path"]).name)
        settings = wanted.get(os.path.relpath(output, results))
        if settings is None:
            continue
        where = f"{file.place}: not made with the settings of tier '{name}'"
        if tier.preset:
            where += f" and preset '{tier.preset}'"
        made = validate(type(settings), file.record["settings"], where)
        no_result = PLACES | settings.only_refuse
        one, other = (given.model_dump(mode="json", exclude=no_result) for given in (made, settings))
        if differing := [key for key in one if one[key] != other[key]]:
            raise CCAError(
                f"{where}: '{differing[0]}' is another; make it again, or name the tier that it is of"
            )


def expected(tier: Tier) -> dict[str, Settings]:
    """Settings of what the DAG makes, by path below the tier's results."""
    found: dict[str, Settings | None] = {
        "data/images.npz": tier.data,
        "features/classifier.safetensors": tier.classifier,
        "features/perceptual.safetensors": tier.perceptual,
        "reference/reference.npz": tier.evaluation.protocol if tier.evaluation.reference is None else None,
        str(SUMMARY): tier.theory,
        "claims/claims.csv": tier.judged_claims() if tier.claims else None,
        str(MEASURED): tier.measured_pitfalls() if tier.pitfalls else None,
    }
    for tokenizer, coder in tier.tokenizers.items():
        found[f"tokenizers/{tokenizer}/tokenizer.safetensors"] = coder.making
        found[str(quality(tokenizer))] = tier.evaluation.protocol
        for shard in range(tier.code_shards):
            place = f"tokenizers/{tokenizer}/codes/{tier.code_shards}/shard_{shard}.safetensors"
            found[place] = coder.codes
    for model, entry in tier.models.items():
        found[f"{model}/{BASE}/model.safetensors"] = entry.making
        found[str(cost(model))] = tier.cost_of(model)
    experiments = tier.experiments()
    for experiment in experiments:
        found |= _of_finetune(tier, experiment)
        samples = tier.sampling(experiment.model, experiment.scale)
        found |= _shards(tier, experiment.samples(tier.shards), samples)
    evaluated = [*(e.metrics for e in experiments), *map(external, tier.external)]
    found |= {str(metrics): tier.evaluation.protocol for metrics in evaluated}
    if tier.evaluation.inception:
        others = [Path("reference/inception.npz"), *map(by_inception, evaluated)]
        found |= {str(place): tier.evaluation.by_inception for place in others}
    if pitfalls := tier.pitfalls:
        for variant in pitfalls.sampling:
            first = folder(pitfalls.right, tier.shards, variant) / "shard_0.npz"
            found |= _shards(tier, first, tier.sampling_variant(pitfalls.model, pitfalls.scale, variant))
    found |= {f"tables/{table}.csv": tier.table(table) for table in tier.tables}
    found |= {f"figures/{figure}.pdf": tier.figure(figure) for figure in tier.figures}
    return {path: settings for path, settings in found.items() if settings}


def _of_finetune(tier: Tier, experiment: Experiment) -> dict[str, Settings]:
    """A finetune's checkpoint; its pairs, generated negatives and log-likelihoods, which others may share."""
    model, entry = experiment.model, tier.finetunes.get(experiment.finetune)
    if entry is None:
        return {}
    place = str(experiment.checkpoint)
    if isinstance(entry, ImportedFinetune):
        base = tier.models[model]
        assert isinstance(base, ImportedModel)  # the tier's checks have seen to it
        return {place: base.holding(entry.checkpoints[model])}
    rate = tier.mask_rate(model, experiment.finetune)
    pairs = f"{model}/pairs/mask={rate:g}/seed={experiment.seed}"
    found: dict[str, Settings] = {place: tier.finetune(model, experiment.finetune)}
    found |= {f"{pairs}/pairs.npz": tier.pairs(model, rate), f"{pairs}/fakes.npz": tier.fakes(model)}
    for scores in ("scores", "fake_scores"):
        for shard in range(tier.score_shards):
            found[f"{pairs}/{scores}/{tier.score_shards}/shard_{shard}.npz"] = tier.score(model)
    return found


def _shards(tier: Tier, first: Path, settings: Settings) -> dict[str, Settings]:
    """All shards of samples, of which ``first`` is one."""
    return {str(first.with_name(f"shard_{shard}.npz")): settings for shard in range(tier.shards)}
