"""The faults that are injected into whole runs of Snakemake, on the last stages before table 2."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from .kinds import fill, flip, obey_permissions, small_disk, truncate
from .site import Outcome, not_clear, same
from .stages import Stage, snakemake

TABLE = Path("results/table2.csv")
LONGEST = 40.0
"""Seconds within which a run is disturbed."""
REDONE = ("finetune", "sample", "evaluate", "table")
"""Rules of the stages that are performed again."""


class Run:
    """A copy of the undisturbed run without some outputs, which Snakemake is asked to make again."""

    def __init__(self, truth: Path, folder: Path, stages: list[Stage]):
        self.truth, self.folder = truth, folder
        last = next(stage for stage in stages if stage.out == Path("results/smoke/tables/table2.csv"))
        made_by = {path: stage for stage in stages for path in stage.outputs}
        self.stages, due = [last], list(last.inputs)
        while due:
            stage = made_by.get(due.pop())
            if stage and stage.rule in REDONE and "cca_lambda=1" in stage.out.parts:
                self.stages.append(stage)
                due += stage.inputs

    def prepare(self, folder: Path | None = None, redone: tuple[str, ...] = REDONE) -> Path:
        """Make the copy anew, without what the rules ``redone`` made."""
        folder = folder or self.folder
        for name in ("results", ".snakemake"):
            shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(self.truth / "results", folder / "results")
        (folder / TABLE).unlink(missing_ok=True)
        for stage in self.stages:
            if stage.rule in redone:
                for path in (*stage.outputs, stage.record):
                    (folder / path).unlink()
        return folder

    def begin(self, folder: Path | None = None, limit: Callable | None = None) -> subprocess.Popen:
        """Start Snakemake, in a process group of its own."""
        return subprocess.Popen(
            snakemake(folder or self.folder, str(TABLE)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=limit,
        )

    def end(self, process: subprocess.Popen) -> tuple[int, str]:
        """Its status and what it told."""
        told, _ = process.communicate()
        return process.returncode, told

    def wrong(self, folder: Path | None = None) -> str:
        """What differs from the undisturbed run, or nothing."""
        folder = folder or self.folder
        due = {path: path for stage in self.stages for path in stage.outputs}
        due[TABLE] = self.stages[0].out
        for path, true in due.items():
            if not (folder / path).exists():
                return f"{path} is missing"
            if not same(folder / path, self.truth / true):
                return f"{path} differs"
        hidden = [path for path in (folder / "results").rglob(".*") if path.is_file()]
        return f"{hidden[0].relative_to(folder)} was left" if hidden else ""

    def judged(self, fault: str, where: str, end: tuple[int, str], folder: Path | None = None) -> Outcome:
        """The outcome of a fault that is mended by now: what was refused is run again."""
        status, told = end
        wrong = not_clear(status, told) if status else ""
        if status and not wrong:
            again, told = self.end(self.begin(folder))
            wrong = f"status {again} when run again: {told[-400:]}" if again else ""
        wrong = wrong or self.wrong(folder)
        return Outcome(fault, where, "lost" if wrong else "refused" if status else "survived", wrong)


def killed(run: Run, rng: Random) -> Iterator[Outcome]:
    """Kill -9 Snakemake and its jobs at a random moment, then run it again."""
    run.prepare()
    longest = LONGEST
    while True:
        begun, process = time.monotonic(), run.begin()
        try:
            process.communicate(timeout=rng.uniform(0, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            break
        longest = time.monotonic() - begun
        run.prepare()
    status, told = run.end(run.begin())
    wrong = run.wrong() if status == 0 else f"status {status} when run again: {told[-400:]}"
    yield Outcome("kill -9 of Snakemake and its jobs", str(TABLE), "lost" if wrong else "survived", wrong)


def damaged(run: Run, rng: Random) -> Iterator[Outcome]:
    """Spoil a file of samples that is already there."""
    run.prepare(redone=("evaluate", "table"))
    path = rng.choice([stage.out for stage in run.stages if stage.rule == "sample"])
    stamp = (run.folder / path).stat()
    rng.choice([truncate, flip])(run.folder / path, rng)
    os.utime(run.folder / path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    end = run.end(run.begin())
    shutil.copy2(run.truth / path, run.folder / path)
    yield run.judged("damaged file in a run of Snakemake", str(path), end)


def full_disk(run: Run, rng: Random) -> Iterator[Outcome]:
    """Run Snakemake where there is no room, from the start or from a random moment, then where there is."""
    with small_disk(run.folder.parent / "disk") as disk:
        run.prepare(disk)
        process = run.begin(disk)
        time.sleep(rng.choice([0, rng.uniform(0, LONGEST)]))
        filler = fill(disk, rng.randrange(20_000))
        end = run.end(process)
        filler.unlink()
        yield run.judged("full disk under Snakemake", str(TABLE), end, disk)


def read_only(run: Run, rng: Random) -> Iterator[Outcome]:
    """Run Snakemake where a folder of its results, or its own, may not be written."""
    run.prepare(redone=("evaluate", "table"))
    stage = rng.choice([stage for stage in run.stages if stage.rule in {"evaluate", "table"}])
    folder = rng.choice([run.folder, (run.folder / stage.out).parent])
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    end = run.end(run.begin(limit=obey_permissions))
    folder.chmod(mode)
    yield run.judged("read-only folder under Snakemake", str(folder.relative_to(run.folder)), end)


def jumping_clock(run: Run, rng: Random) -> Iterator[Outcome]:
    """Kill a run, then let the clock be a month before or after what its files say; run it again."""
    run.prepare()
    process = run.begin()
    try:
        process.communicate(timeout=rng.uniform(0, LONGEST))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    jump = rng.choice([-1, 1]) * rng.uniform(0, 30 * 86400)
    for path in run.folder.rglob("*"):
        if path.is_file() and rng.random() < 0.5:
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime + jump))
    end = run.end(run.begin())
    yield run.judged("jumping clock under Snakemake", f"{jump / 86400:.1f} days", end)


def two_at_once(run: Run, rng: Random) -> Iterator[Outcome]:
    """Run Snakemake twice in one folder at the same time."""
    run.prepare(redone=("evaluate", "table"))
    first = run.begin()
    time.sleep(rng.choice([0, rng.uniform(0, 10)]))
    ends = [run.end(process) for process in (run.begin(), first)]
    failed = [end for end in ends if end[0]]
    wrong = run.wrong() or "".join(not_clear(*end) for end in failed)
    good = "refused" if failed else "survived"
    yield Outcome("two runs of Snakemake at once", str(TABLE), "lost" if wrong else good, wrong)


KINDS: dict[str, Callable[[Run, Random], Iterator[Outcome]]] = {
    "killed": killed,
    "damaged": damaged,
    "full": full_disk,
    "read-only": read_only,
    "clock": jumping_clock,
    "two": two_at_once,
}
