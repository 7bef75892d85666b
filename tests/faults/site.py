"""A copy of the undisturbed run in which stages are disturbed, and what must hold there."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .stages import Stage, ended, start

TIMES = {"images_per_second", "images_per_second_max", "images_per_second_min", "time_ratio"}
"""What a stage measures anew each time it runs."""


@dataclass(frozen=True)
class Outcome:
    """What came of one injected fault: `survived`, `refused` or `lost`, and the reason."""

    fault: str
    where: str
    verdict: str
    told: str = ""


@dataclass(frozen=True)
class Site:
    """``folder`` holds what ``truth`` does, but for what a fault does to it; children speak to ``log``."""

    truth: Path
    folder: Path
    log: Path
    seconds: dict[Stage, float] = field(default_factory=dict)
    """How long stages compute that were measured."""

    def clear(self, stage: Stage) -> None:
        """Remove what a stage has written."""
        for path in (*stage.outputs, stage.record, stage.state):
            (self.folder / path).unlink(missing_ok=True)

    def restore(self, paths: Iterable[Path]) -> None:
        """Make files what they are in the undisturbed run."""
        for path in paths:
            if (self.truth / path).exists():
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.truth / path, self.folder / path)

    def record_of(self, path: Path) -> Path:
        """The record of the stage that made a file, its output or what lies beside that by the same name."""
        stems = [path.name.rsplit(".", count)[0] for count in range(1, path.name.count(".") + 1)]
        paths = [path.with_name(f"{stem}.provenance.json") for stem in stems]
        return next(record for record in paths if (self.truth / record).exists())

    def start(self, stage: Stage, prepare: Callable[[], None] = lambda: None) -> int:
        """Begin a stage: its process id."""
        return start(stage, self.folder, self.log, prepare)

    def run(self, stage: Stage, prepare: Callable[[], None] = lambda: None) -> tuple[int, str]:
        """Run a stage to its end: status and what it told."""
        status, _ = ended(self.start(stage, prepare))
        return status, self.log.read_text(errors="replace")

    def duration(self, stage: Stage) -> float:
        """Seconds that a stage computes for, measured the first time."""
        if stage not in self.seconds:
            self.clear(stage)
            self.seconds[stage] = ended(self.start(stage))[1]
        return self.seconds[stage]

    def wrong(self, stage: Stage) -> str:
        """What is not as in the undisturbed run after a stage has ended well, or nothing."""
        due = [*stage.outputs, stage.record]
        if missing := [path for path in due if not (self.folder / path).exists()]:
            return f"{missing[0]} is missing"
        if half := self.half_written(stage):
            return half
        record = json.loads((self.folder / stage.record).read_text())
        content = (self.folder / stage.out).read_bytes()
        if record["output"]["sha256"] != hashlib.sha256(content).hexdigest():
            return f"{stage.record} is of another file"
        return self.left_over(stage)

    def half_written(self, stage: Stage) -> str:
        """Which output is there and not as in the undisturbed run, or nothing."""
        there = [path for path in stage.outputs if (self.folder / path).exists()]
        differing = [path for path in there if not same(self.folder / path, self.truth / path)]
        return f"{differing[0]} differs" if differing else ""

    def left_over(self, stage: Stage) -> str:
        """Which file a stage that has ended left for itself, or nothing."""
        hidden = [path.name for path in (self.folder / stage.out).parent.glob(".*")]
        hidden += [stage.state.name] if (self.folder / stage.state).exists() else []
        return f"{hidden[0]} was left" if hidden else ""

    def resumed(self, stage: Stage) -> str:
        """Run a disturbed stage again, without the fault: what is wrong then, or nothing."""
        status, told = self.run(stage)
        return self.wrong(stage) if status == 0 else f"status {status} when run again: {told[-300:]}"

    def refused(self, stage: Stage, status: int, told: str, *names: Path) -> str:
        """What is wrong with how a stage ended that could not go on, or nothing."""
        return not_clear(status, told, *names) or self.half_written(stage) or self.left_over(stage)


def same(path: Path, other: Path) -> bool:
    """Whether two files have the same bytes, but for times that a stage measures."""
    if path.name == "cost.json":
        return _untimed(path) == _untimed(other)
    return path.read_bytes() == other.read_bytes()


def _untimed(path: Path) -> list:
    def kept(pairs: list[tuple]) -> list[tuple]:
        return [pair for pair in pairs if pair[0] not in TIMES]

    return json.loads(path.read_text(), object_pairs_hook=kept)


def not_clear(status: int, told: str, *names: Path) -> str:
    """What a failed command owes its user: status 1 and one line that names one of the files; or nothing.

    The line is ours, or Snakemake's own about an input that is younger than what was made of it.
    """
    lines = [line for line in told.splitlines() if line.startswith("error: ") or "clock skew problem" in line]
    if status != 1 or "Traceback" in told or len(set(lines)) != 1 or "unexpected" in lines[0]:
        return f"no one clear line, status {status}: {told[-400:]}"
    if names and not any(os.fspath(name) in lines[0] for name in names):
        return f"the line names no file: {lines[0]}"
    return ""
