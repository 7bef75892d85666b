"""What tiers ask of a cluster is enough: their longest jobs end in time, and their models fit the memory."""

from pathlib import Path

import pandas as pd
import pytest

from cca import resources
from cca.config import Tier, load_tier
from cca.entries import TrainedFinetune
from cca.plan import memory, table
from cca.plan.compute import MACHINES, Networks
from cca.plan.images import training_split
from cca.plan.jobs import Job
from cca.presets import override

FOLDER = Path(__file__).parents[2] / "workflow/config"
Planned = tuple[Tier, Networks]


@pytest.fixture(scope="module", params=["paper", "cifar10 gpu", "cifar10 cpu"])
def planned(request: pytest.FixtureRequest) -> Planned:
    """A tier and its networks without memory."""
    name, _, preset = request.param.partition(" ")
    tier = load_tier(name, FOLDER, override(preset or None))
    return tier, Networks(tier, training_split(tier.data).classes)


def jobs(tier: Tier) -> list[Job]:
    """One of each rule's jobs that differ in seed or shard only, without asking Snakemake, which is slow."""

    def job(rule: str, **wildcards: str) -> Job:
        return Job(rule, (), (), tuple(wildcards.items()))

    def one_of(shards: int) -> dict[str, str]:
        return {"shard": "0", "shards": str(shards)}

    made = [job(rule) for rule in ("features", "perceptual", "reference", "pitfalls")]
    for name in tier.tokenizers:
        made += [job(rule, tokenizer=name) for rule in ("tokenizer", "quality")]
        made.append(job("encode", tokenizer=name, **one_of(tier.code_shards)))
    for name in tier.models:
        made += [job(rule, model=name) for rule in ("pretrain", "cost", "evaluate")]
        made.append(job("score", model=name, **one_of(tier.score_shards)))
    for model, finetune, scale in {(e.model, e.finetune, e.scale) for e in tier.experiments()}:
        made.append(job("sample", model=model, scale=f"{scale:g}", **one_of(tier.shards)))
        if isinstance(tier.finetunes.get(finetune), TrainedFinetune):
            made.append(job("finetune", model=model))
            made += [job("fakes", model=model)] if tier.contrasts_samples(finetune) else []
    return made


def longest(tier: Tier, networks: Networks) -> pd.DataFrame:
    """The plan's table, by rule."""
    machine = MACHINES["a100" if resources.of_rule(tier.resources, "sample").gpus else "cpu"]
    split = training_split(tier.data)
    return table.longest(jobs(tier), tier, networks, split, machine).set_index("rule")


def test_the_longest_job_of_each_rule_ends_within_its_runtime(planned: Planned) -> None:
    shown = longest(*planned)
    assert {*shown.index, "fakes"} == resources.RULES  # the paper's tier has no fakes
    late = shown[shown["minutes"] > shown["runtime (minutes)"]]
    assert late.empty, late.to_string()


def test_what_a_process_of_finetuning_or_scoring_holds_fits_its_memory(planned: Planned) -> None:
    """A tenth of a GPU is kept free. A CPU computes in float32: activations are twice as large."""
    tier, networks = planned
    asked = resources.of_rule(tier.resources, "finetune")
    room, factor = (0.9 * memory.GPU, 1) if asked.gpus else (1e6 * asked.mem_mb, 2)
    held = table.memories(tier, networks).set_index("model")[["finetuning (GB)", "scoring (GB)"]]
    assert set(held.index) == set(tier.models)
    assert (held * 1e9 * factor <= room).all(axis=None), held.to_string()


def test_scoring_all_pairs_of_the_paper_in_one_job_would_end_late(planned: Planned) -> None:
    """As it did: the tests above can fail."""
    tier, networks = planned
    if tier.benchmark != "imagenet256":
        pytest.skip("small tiers score in one job")
    late = longest(tier.model_copy(update={"score_shards": 1}), networks).loc["score"]
    assert late["of"] == "llamagen-3b" and late["minutes"] > 2 * late["runtime (minutes)"]
