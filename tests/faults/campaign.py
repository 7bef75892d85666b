"""A campaign of faults against the smoke tier, and its report.

    python -m tests.faults.campaign --kills 300 --seed 0 --out report.md

An undisturbed run of every stage is made first, in a scratch folder. Then faults are injected into single
stages and into runs of Snakemake. A fault is *survived* when the outputs end with the bytes of the
undisturbed run. It is *refused* when the command ends with one clear line and leaves no half-written file,
and the same command makes the same bytes once the cause is gone. Anything else is *lost*, and makes the
status 1. Where file systems cannot be mounted, those with a full disk are left out.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

from tabulate import tabulate

from . import kinds, runs
from .site import Outcome, Site
from .stages import REPOSITORY, Stage, ended, planned, start, warm_up

VERDICTS = ("survived", "refused", "lost")


def undisturbed(folder: Path, log: Path, stages: list[Stage]) -> dict[Stage, float]:
    """Run stages in order, but what is there already: how long those run computed."""
    seconds = {}
    for stage in stages:
        if not (folder / stage.record).exists():
            status, seconds[stage] = ended(start(stage, folder, log))
            if status:
                sys.exit(f"{stage}: status {status}: {log.read_text()[-2000:]}")
    return seconds


def stage_faults(site: Site, stages: list[Stage], kills: int, others: int, seed: int) -> Iterator[Outcome]:
    """Inject faults into single stages."""
    training = [stage for stage in stages if stage.rule in kinds.TRAINING]
    reading = [stage for stage in stages if kinds.spoilable(stage)]
    rounds = -(-kills // kinds.KILLS_A_RESUME)
    plan = [
        (kinds.kill_at_a_moment, stages, -(-2 * rounds // 3)),
        (kinds.kill_at_a_file, stages, rounds // 3),
        (kinds.damaged_state, training, others),
        (kinds.truncated_input, reading, others),
        (kinds.flipped_input, reading, others),
        (kinds.truncated_record, reading, others),
        (kinds.flipped_record, reading, others),
        (kinds.limited_file, stages, others),
        (kinds.read_only, stages, others),
        (kinds.jumping_clock, stages, others),
        (kinds.two_at_once, stages, others),
    ]
    if may_mount(site.folder.parent / "disk"):
        plan.append((kinds.full_disk, stages, others))
    for kind, fitting, number in plan:
        rng = Random(f"{seed} {kind.__name__}")
        for stage in islice(in_turn(fitting, rng), number if fitting else 0):
            yield from kind(site, stage, rng)
            site.restore([*stage.outputs, stage.record])


def code() -> str:
    """What tells the code of ``cca`` and its workflow from any other."""
    files = [path for name in ("cca", "workflow") for path in sorted((REPOSITORY / name).rglob("*.*"))]
    content = b"".join(path.read_bytes() for path in files if path.suffix in {".py", ".smk", ".yaml", ".csv"})
    return hashlib.sha256(content).hexdigest()[:8]


def needed(every: list[Stage], stages: list[Stage]) -> list[Stage]:
    """Some stages and those that make their inputs, in the order of ``every``."""
    kept: list[Stage] = []
    for stage in reversed(every):
        if stage in stages or any(set(stage.outputs) & set(other.inputs) for other in kept):
            kept.insert(0, stage)
    return kept


def in_turn(stages: list[Stage], rng: Random) -> Iterator[Stage]:
    """A random job of each rule, the rules in random order, again and again."""
    by_rule = defaultdict(list)
    for stage in stages:
        by_rule[stage.rule].append(stage)
    while True:
        yield from (rng.choice(by_rule[rule]) for rule in rng.sample(list(by_rule), len(by_rule)))


def run_faults(run: runs.Run, number: int, seed: int) -> Iterator[Outcome]:
    """Inject faults into runs of Snakemake, the kinds in turn."""
    mounts = may_mount(run.folder.parent / "disk")
    for kind in runs.KINDS:
        rng = Random(f"{seed} run {kind.__name__}")
        for _ in range(number if mounts or kind is not runs.full_disk else 0):
            yield from kind(run, rng)


def may_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    try:
        with kinds.small_disk(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def report(outcomes: list[Outcome]) -> str:
    """The counts by fault, those of kills by rule, and what was lost: Markdown."""
    rows, kills = defaultdict(Counter), defaultdict(Counter)
    for outcome in outcomes:
        rows[outcome.fault][outcome.verdict] += 1
        if outcome.fault.startswith("kill -9 at"):
            kills[outcome.where.split()[0]][outcome.verdict] += 1
    total = sum(rows.values(), Counter())
    lines = [
        table("fault", {**rows, "**all**": total}),
        "Kills of stages, by rule:",
        table("rule", kills),
        *(
            f"Lost: {outcome.fault}, {outcome.where}: {outcome.told}"
            for outcome in outcomes
            if outcome.verdict == "lost"
        ),
    ]
    return "\n\n".join(lines) + "\n"


def table(name: str, rows: dict[str, Counter]) -> str:
    """Counts, a row a name."""
    cells = [[key, count.total(), *(count[verdict] for verdict in VERDICTS)] for key, count in rows.items()]
    return tabulate(cells, [name, "injected", *VERDICTS], tablefmt="github")


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300, help="kills of single stages, at least")
    parser.add_argument("--others", type=int, default=40, help="faults of each other kind in single stages")
    parser.add_argument("--runs", type=int, default=3, help="faults of each kind in runs of Snakemake")
    parser.add_argument("--rules", nargs="+", help="the only rules whose stages are disturbed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scratch", type=Path, help="folder to work in, kept; its undisturbed run of the same code is used"
    )
    parser.add_argument("--out", type=Path, help="file to write the report to")
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = (given.scratch or Path(temporary)).resolve()
        outcomes = []
        for outcome in campaign(scratch, given):
            outcomes.append(outcome)
            print(
                f"{len(outcomes)}: {outcome.fault}: {outcome.verdict}: {outcome.where} {outcome.told}",
                flush=True,
            )
    text = report(outcomes)
    print(f"\n{text}\n{(time.monotonic() - begun) / 60:.0f} minutes")
    if given.out:
        given.out.write_text(text)
    sys.exit(any(outcome.verdict == "lost" for outcome in outcomes))


def campaign(scratch: Path, given: argparse.Namespace) -> Iterator[Outcome]:
    """Make the undisturbed run of this code in ``scratch`` and inject faults into copies of it."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # before torch is imported
    truth, log = scratch / f"undisturbed-{code()}", scratch / "log"
    truth.mkdir(parents=True, exist_ok=True)
    warm_up()
    every = planned(truth)
    stages = [stage for stage in every if not given.rules or stage.rule in given.rules]
    seconds = undisturbed(truth, log, every if given.runs else needed(every, stages))
    site = Site(truth, scratch / "work", log, seconds)
    shutil.rmtree(site.folder, ignore_errors=True)
    shutil.copytree(truth, site.folder)
    yield from stage_faults(site, stages, given.kills, given.others, given.seed)
    if given.runs:
        (scratch / "run").mkdir(exist_ok=True)
        run = runs.Run(truth, scratch / "run", runs.last_stages(every))
        yield from run_faults(run.measured(), given.runs, given.seed)


if __name__ == "__main__":
    main()
