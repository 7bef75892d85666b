"""The plan as tables: what each target takes, and what finetuning each model holds in memory."""

from collections.abc import Sequence

import pandas as pd

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


def finetuning(networks: Networks, gpus: Sequence[int] = (1, 8)) -> pd.DataFrame:
    """A row for each model: gigabytes by kind, and the pairs that fit a GPU of 80 GB at a time."""
    rows = []
    for name, model in networks.models.items():
        plan = memory.plan(model)
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

    return frame.map(written).to_markdown(index=False, disable_numparse=True)
