"""What a tier takes before it is started: jobs, images, time, disk, and the memory of GPUs.

Jobs are those that Snakemake plans; operations and parameters are counted on networks without memory;
speeds are assumptions (`compute.MACHINES`). Times of targets are of one core or GPU, and do not shrink
with more.
"""

from collections.abc import Sequence
from pathlib import Path

from cca.config import load_tier
from cca.errors import CCAError
from cca.plan import table
from cca.plan.compute import MACHINES, Networks
from cca.plan.images import training_split
from cca.plan.jobs import files_of, needed, planned, targets
from cca.presets import override


def run(
    tier: str, folder: Path, *, preset: str | None, machine: str | None, chosen: Sequence[str] = ()
) -> str:
    """The plan of a tier as text; of targets ``chosen`` alone if any are given.

    The machine, a name of `compute.MACHINES`, is by default ``cpu`` for a tier without GPUs, else ``a100``.

    Raises:
        CCAError: no such tier, preset, machine or target, or images that are not there.
    """
    loaded = load_tier(tier, folder, override(preset))
    gpus = any(asked.gpus for asked in loaded.resources.values())
    name = machine or ("a100" if gpus else "cpu")
    if name not in MACHINES:
        raise CCAError(f"--machine '{name}' is not one of: {', '.join(MACHINES)}")
    split = training_split(loaded.data)
    networks = Networks(loaded, split.classes)
    jobs = planned(folder.parent.parent / "Snakefile", {"tier": tier, "preset": loaded.preset})
    known = targets(jobs)
    if chosen:
        jobs = needed(jobs, [file for target in chosen for file in files_of(target, known)])
    unit, seconds = ("minutes", 60) if name == "cpu" else ("GPU hours", 3600)
    costs = table.costs(jobs, loaded, networks, split, MACHINES[name], seconds)
    shown = f"tier {tier}" + (f", preset {loaded.preset}" if loaded.preset else "")
    return "\n".join(
        [
            f"# {shown}: what each target takes, with all that it needs",
            "",
            f"Times are for {MACHINES[name].title}, at assumed speeds; targets share most of their jobs.",
            "",
            table.text(costs.rename(columns={"time": unit})),
            "",
            "# The longest job of each rule, on the GPUs that the tier gives it",
            "",
            table.text(table.longest(jobs, loaded, networks, split, MACHINES[name])),
            "",
            "# The memory of one GPU: by part, in finetuning and scoring as the tier says, and what fits",
            "",
            "Copies are autocast's, two bytes a number; a pair is an image's activations, of both labels.",
            "In finetuning, a sharded model's GPUs divide weights, gradients and AdamW's state among them.",
            "",
            table.text(table.memories(loaded, networks)),
        ]
    )
