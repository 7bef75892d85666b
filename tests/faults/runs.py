"""The faults that are injected into whole runs of Snakemake, which make the last stages before table 2."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TextIO

from .kinds import fill, flip, obey_permissions, small_disk, truncate
from .site import Outcome, not_clear, same
from .stages import Stage, snakemake

TABLE = Path("results/table2.csv")
SOURCE = Path("results/smoke/tables/table2.csv")
"""What it is a copy of."""
REDONE = ("finetune", "sample", "evaluate", "table")
"""Rules of the stages that are performed again."""


@dataclass(frozen=True)
class Running:
    """A Snakemake, in a process group of its own, and the file of what it tells."""

    process: subprocess.Popen
    told: TextIO

    def kill(self, jobs: bool = True) -> None:
        """Kill -9, its jobs too or so that they outlive it."""
        (os.killpg if jobs else os.kill)(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> tuple[int, str]:
        """Wait for it: its status and what it told."""
        status = self.process.wait()
        self.told.seek(0)
        return status, self.told.read()

    def leaves_jobs(self) -> bool:
        """Whether jobs of it are still there."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@dataclass(frozen=True)
class Run:
    """A copy of the undisturbed run without the outputs of some ``stages``, which are to be made again."""

    truth: Path
    folder: Path
    stages: list[Stage]
    seconds: float = 0
    """How long it takes undisturbed."""

    def measured(self) -> "Run":
        """With its seconds, from an undisturbed run, which must make what the stages made on their own."""
        self.prepare()
        begun = time.monotonic()
        status, told = self.begin().end()
        if wrong := told[-2000:] if status else self.wrong():
            raise RuntimeError(f"an undisturbed run of Snakemake: {wrong}")
        return replace(self, seconds=time.monotonic() - begun)

    def prepare(self, redone: tuple[str, ...] = REDONE) -> None:
        """Make the copy anew, without what the rules ``redone`` made."""
        for name in ("results", ".snakemake"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.truth / "results", self.folder / "results")
        for stage in self.stages:
            if stage.rule in redone:
                for path in (*stage.outputs, stage.record):
                    (self.folder / path).unlink()

    def begin(self, target: Path = TABLE, limit: Callable[[], None] | None = None) -> Running:
        """Start Snakemake; ``limit`` is called in its process before."""
        told = tempfile.TemporaryFile("w+")  # noqa: SIM115, it is read after the process has ended
        command = snakemake(self.folder, str(target))
        started = subprocess.Popen(
            command, stdout=told, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=limit
        )
        return Running(started, told)

    def wrong(self) -> str:
        """What is not as in the undisturbed run, or nothing."""
        due = {path: path for stage in self.stages for path in stage.outputs} | {TABLE: SOURCE}
        for path, source in due.items():
            if not (self.folder / path).exists():
                return f"{path} is missing"
            if not same(self.folder / path, self.truth / source):
                return f"{path} differs"
        hidden = [path for path in (self.folder / "results").rglob(".*") if path.is_file()]
        return f"{hidden[0].relative_to(self.folder)} was left" if hidden else ""

    def judged(self, fault: str, where: object, status: int, told: str) -> Outcome:
        """The outcome of a fault that is mended by now: what was refused is run again."""
        wrong = not_clear(status, told) if status else ""
        if status and not wrong:
            again, told = self.begin().end()
            wrong = f"status {again} when run again: {told[-400:]}" if again else ""
        wrong = wrong or self.wrong()
        return Outcome(fault, str(where), "lost" if wrong else "refused" if status else "survived", wrong)


def last_stages(stages: list[Stage]) -> list[Stage]:
    """Those of ``stages`` that make table 2 from the pretrained model, as far as one finetune goes."""
    kept: list[Stage] = []
    for stage in reversed(stages):
        read = any(set(stage.outputs) & set(other.inputs) for other in kept)
        if stage.out == SOURCE or (read and stage.rule in REDONE and "cca_lambda=1" in stage.out.parts):
            kept.append(stage)
    return kept


def killed(run: Run, rng: Random) -> Iterator[Outcome]:
    """Kill -9 Snakemake at a random moment, with its jobs or so that they outlive it; then run it again."""
    jobs = rng.random() < 0.5
    longest = run.seconds
    while True:
        run.prepare()
        begun, running = time.monotonic(), run.begin()
        try:
            running.process.wait(timeout=rng.uniform(0, longest))
        except subprocess.TimeoutExpired:
            running.kill(jobs)
            break
        longest = time.monotonic() - begun
    end = run.begin().end()
    while running.leaves_jobs():
        time.sleep(0.2)
    yield run.judged(f"kill -9 of Snakemake {'and its jobs' if jobs else 'alone'}", TABLE, *end)


def damaged(run: Run, rng: Random) -> Iterator[Outcome]:
    """Spoil a file of samples that is already there."""
    run.prepare(redone=("evaluate", "table"))
    path = rng.choice([stage.out for stage in run.stages if stage.rule == "sample"])
    stamp = (run.folder / path).stat()
    rng.choice([truncate, flip])(run.folder / path, rng)
    os.utime(run.folder / path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    end = run.begin().end()
    shutil.copy2(run.truth / path, run.folder / path)
    yield run.judged("damaged file under Snakemake", path, *end)


def spoiled(run: Run, rng: Random) -> Iterator[Outcome]:
    """Spoil metrics beside a finished table and its copy, then do what the message says."""
    run.prepare(redone=())
    shutil.copy2(run.truth / SOURCE, run.folder / TABLE)
    path = rng.choice([stage.out for stage in run.stages if stage.rule == "evaluate"])
    rng.choice([truncate, flip])(run.folder / path, rng)
    status, told = run.begin().end()
    (run.folder / path).unlink()
    mended, more = run.begin(path).end()
    fault = "spoiled file below a finished table"
    if not status or "make it by this name" not in told or mended:
        yield Outcome(fault, str(path), "lost", f"status {status}, then {mended}: {(told + more)[-400:]}")
    else:
        yield run.judged(fault, path, status, told)


def full_disk(run: Run, rng: Random) -> Iterator[Outcome]:
    """Run Snakemake where there is no room, from the start or from a random moment, then where there is."""
    with small_disk(run.folder.parent / "disk") as disk:
        there = replace(run, folder=disk)
        there.prepare()
        late = rng.random() < 0.5
        filler = None if late else fill(disk, 0)
        running = there.begin()
        if late:
            time.sleep(rng.uniform(0, run.seconds))
            filler = fill(disk, rng.randrange(20_000))
        end = running.end()
        filler.unlink()
        when = "that fills during a run" if late else "under Snakemake"
        yield there.judged(f"full disk {when}", TABLE, *end)


def read_only(run: Run, rng: Random) -> Iterator[Outcome]:
    """Run Snakemake where a folder of its results, or its own, may not be written."""
    run.prepare(redone=("evaluate", "table"))
    stages = [stage for stage in run.stages if stage.rule in {"evaluate", "table"}]
    folder = rng.choice([run.folder, (run.folder / rng.choice(stages).out).parent])
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    end = run.begin(limit=obey_permissions).end()
    folder.chmod(mode)
    yield run.judged("read-only folder under Snakemake", folder.relative_to(run.folder), *end)


def jumping_clock(run: Run, rng: Random) -> Iterator[Outcome]:
    """Kill a run, then let half of its files be up to a month older or younger; run it again."""
    run.prepare()
    running = run.begin()
    time.sleep(rng.uniform(0, run.seconds))
    running.kill()
    jump = rng.uniform(-30, 30)
    for path in filter(Path.is_file, run.folder.rglob("*")):
        if rng.random() < 0.5:
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime + jump * 86400))
    end = run.begin().end()
    for path in filter(Path.is_file, run.folder.rglob("*")):
        if path.stat().st_mtime > time.time():
            os.utime(path)
    yield run.judged("jumping clock under Snakemake", f"{jump:.1f} days", *end)


def two_at_once(run: Run, rng: Random) -> Iterator[Outcome]:
    """Run Snakemake twice in one folder at the same time."""
    run.prepare(redone=("evaluate", "table"))
    first = run.begin()
    time.sleep(rng.choice([0, rng.uniform(0, 10)]))
    ends = [running.end() for running in (run.begin(), first)]
    failed = [end for end in ends if end[0]]
    wrong = run.wrong() or "".join(not_clear(*end) for end in failed)
    good = "refused" if failed else "survived"
    yield Outcome("two runs of Snakemake at once", str(TABLE), "lost" if wrong else good, wrong)


KINDS = (killed, damaged, spoiled, full_disk, read_only, jumping_clock, two_at_once)
