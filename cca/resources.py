"""What one job asks of a scheduler that hands out machines, as SLURM does; no result depends on it."""

from collections.abc import Callable

from pydantic import Field

from cca.errors import CCAError
from cca.settings import Settings

RULES = {
    "cost",
    "encode",
    "evaluate",
    "fakes",
    "features",
    "finetune",
    "perceptual",
    "pitfalls",
    "pretrain",
    "quality",
    "reference",
    "sample",
    "score",
    "tokenizer",
}
"""Rules whose jobs are heavy; all others are content with a profile's ``default-resources``."""

LARGE = {"codes", "data", "heldout", "import_model", "import_tokenizer", "pairs"}
"""Rules that need no GPU and are heavy with large images or weights only: they have an entry of their own, or
are content too."""

TOGETHER = {"finetune", "pretrain"}
"""Rules of one model that several processes, on several nodes too, train together."""

RESUMED = TOGETHER | {"features", "perceptual", "tokenizer"}
"""Rules whose jobs go on from the state that an earlier attempt kept, and so need no more time than it."""

DEFAULT = "default"  # the entry under those of all heavy rules


class Resources(Settings):
    """A job's share of a cluster, on its first attempt."""

    gpus: int = Field(default=0, ge=0, description="of each node")
    nodes: int = Field(default=1, ge=1, description="on more than one, only training of models can compute")
    cpus: int | None = Field(
        default=None, ge=1, description="cores of each node, to decode images on; default: the rule's threads"
    )
    mem_mb: int = Field(default=4000, ge=1, description="memory of each node, in MB, grows with attempts")
    runtime: int = Field(default=60, ge=1, description="minutes; grow with attempts, but for trainings")
    partition: str | None = Field(default=None, min_length=1, description="SLURM's; default: the profile's")
    constraint: str | None = Field(default=None, min_length=1, description="features of a node, as SLURM's")

    @property
    def processes(self) -> int:
        """How many train a model together: one a GPU, or one a node."""
        return max(self.gpus, 1) * self.nodes


def of_rule(resources: dict[str, Resources], rule: str) -> Resources:
    """The entry of a heavy rule over the default entry, key by key; of a rule of `LARGE` its own alone."""
    names = (rule,) if rule in LARGE else (DEFAULT, rule)
    given = [resources[name].model_dump(exclude_unset=True) for name in names if name in resources]
    return Resources(**{key: value for entry in given for key, value in entry.items()})


def heavy(rule: str) -> str | None:
    """The heavy rule that a rule is or, like ``sample_variant``, is made of and named after; or None."""
    return next((name for name in RULES if rule == name or rule.startswith(f"{name}_")), None)


def as_snakemake(asked: Resources, resumed: bool = False) -> dict[str, int | str | Callable]:
    """The same under the names of Snakemake's SLURM executor.

    GPUs are asked for by node (``--gres``), which means the same on any number of them. ``processes``, one a
    GPU, and ``device`` (see `cca.gpus`) are for the command. A job of several nodes is what the executor
    calls an MPI job: it starts its processes itself, one task a node. Memory is twice its amount from the
    third attempt on, and so is time, but for jobs that are ``resumed``.
    """

    def growing(amount: int) -> Callable[..., int]:
        return lambda wildcards, attempt: amount * (min(attempt, 3) + 1) // 2

    names: dict = {
        "mem_mb": growing(asked.mem_mb),
        "runtime": asked.runtime if resumed else growing(asked.runtime),
        "nodes": asked.nodes,
        "processes": asked.processes,
        "device": f"gpu:{asked.gpus}" if asked.gpus else "auto",
    }
    if asked.cpus:
        names["cpus_per_task"] = asked.cpus
    if asked.gpus:
        names["gres"] = f"gpu:{asked.gpus}"
    if asked.partition:
        names["slurm_partition"] = asked.partition
    if asked.constraint:
        names["constraint"] = asked.constraint
    if asked.nodes > 1:
        names |= {"mpi": "srun", "tasks": asked.nodes, "tasks_per_gpu": 0}
    return names


def needs(resources: dict[str, Resources], rule: str) -> dict[str, int | str | Callable]:
    """`as_snakemake` of what the jobs of a rule ask for; of one of `LARGE` without an entry nothing."""
    if rule in LARGE and rule not in resources:
        return {}
    return as_snakemake(of_rule(resources, rule), resumed=rule in RESUMED)


def check(resources: dict[str, Resources]) -> None:
    """Hold entries against the rules.

    Raises:
        CCAError: an entry of a rule that takes none, or more nodes or GPUs than a rule computes on.
    """
    for name, asked in resources.items():
        if name not in RULES | LARGE | {DEFAULT}:
            known = ", ".join(sorted(RULES | LARGE | {DEFAULT}))
            raise CCAError(f"section 'resources': '{name}' is not one of: {known}")
        if asked.nodes > 1 and name not in TOGETHER:
            able = " and ".join(f"'{rule}'" for rule in sorted(TOGETHER))
            raise CCAError(f"key 'resources.{name}.nodes': only {able} compute on several nodes")
        if asked.gpus > (0 if name in LARGE else 1) and name not in TOGETHER:
            most = "no GPU" if name in LARGE else "one GPU; only 'finetune' and 'pretrain' take several"
            raise CCAError(f"key 'resources.{name}.gpus': {asked.gpus}, but it computes on {most}")
