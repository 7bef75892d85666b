"""The plan as tables: what each target takes, each rule's longest job, and what a GPU holds of each model."""

from collections.abc import Iterable, Sequence

import pandas as pd

from cca import markdown, resources
from cca.config import Tier
from cca.plan import memory
from cca.plan.compute import Machine, Networks, samples_of, seconds
from cca.plan.images import Split
from cca.plan.jobs import Job, needed, targets
from cca.plan.storage import size


def costs(
    jobs: Sequence[Job], tier: Tier, networks: Networks, split: Split, machine: Machine, unit: float
) -> pd.DataFrame:
    """A row for each target with all that it needs, then one for all together, which share most jobs.

    Args:
        jobs: all that the tier has.
        split: the images that it trains on.
        unit: seconds of the column ``time``'s unit.
    """
    time = {job: seconds(job, tier, networks, split, machine) for job in jobs}
    disk = {job: size(job, tier, networks, split) for job in jobs}
    parts = {name: needed(jobs, files) for name, files in targets(jobs).items()}
    rows = [
        {
            "target": name,
            "jobs": len(part),
            "finetunes": sum(job.rule == "finetune" for job in part),
            "images sampled": sum(samples_of(tier, job) for job in part),
            "time": sum(time[job] for job in part) / unit,
            "storage (GB)": sum(disk[job] for job in part) / 1e9,
        }
        for name, part in {**parts, "all of these": list(jobs)}.items()
    ]
    return pd.DataFrame(rows)


def longest(
    jobs: Iterable[Job], tier: Tier, networks: Networks, split: Split, machine: Machine
) -> pd.DataFrame:
    """A row for each heavy rule: its longest job, on all GPUs that the tier gives it, and its runtime."""
    rows: dict[str, dict] = {}
    for job in jobs:
        if (rule := resources.heavy(job.rule)) is None:
            continue
        asked = resources.of_rule(tier.resources, rule)
        together = asked.processes if rule in resources.TOGETHER else 1
        minutes = seconds(job, tier, networks, split, machine, together) / 60
        if minutes > rows.get(rule, {}).get("minutes", 0):
            of = job["model"] or job["tokenizer"] or "all"
            rows[rule] = {"rule": rule, "of": of, "minutes": minutes, "runtime (minutes)": asked.runtime}
    return pd.DataFrame([rows[rule] for rule in sorted(rows)])


def memories(tier: Tier, networks: Networks, gpus: Sequence[int] = (1, 8)) -> pd.DataFrame:
    """A row for each model: gigabytes by kind, what the tier's settings take of a GPU, and what fits 80 GB.

    Pairs are those of a process at a time.
    """
    asked = resources.of_rule(tier.resources, "finetune")
    rows = []
    for name, model in networks.models.items():
        plan, settings = memory.plan(model), tier.models[name].finetuning
        share = -(-settings.batch_size // asked.processes)
        pairs = min(settings.micro_batch or share, share)
        shared = asked.processes if settings.sharded else 1
        fit = {
            f"pairs on {count} x 80 GB{', checkpointed' if checkpointing else ''}": plan.fits(
                count, checkpointing
            )
            for count in gpus
            for checkpointing in (False, True)
        }
        gigabytes = {
            "weights": plan.weights,
            "gradients": plan.gradients,
            "AdamW": plan.optimiser,
            "copies": plan.copies,
            "a pair": plan.activations,
            "a pair, checkpointed": plan.checkpointed,
            "finetuning": plan.total(pairs, shared, settings.activation_checkpointing),
            "scoring": plan.scoring(tier.score(name).batch_size),
        }
        row = {"model": name, "parameters": sum(weight.numel() for weight in model.parameters())}
        rows.append(row | {f"{key} (GB)": value / 1e9 for key, value in gigabytes.items()} | fit)
    return pd.DataFrame(rows)


def text(frame: pd.DataFrame) -> str:
    """A table to read: numbers in three digits, thousands apart."""

    def written(value: object) -> str:
        if isinstance(value, float):
            return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    return markdown.table(frame.map(written))
