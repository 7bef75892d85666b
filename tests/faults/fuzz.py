"""A campaign against the loaders: files that are damaged, lie or attack, and what becomes of each.

    python -m tests.faults.fuzz --minutes 10 --seed 0 --out report.md

A case is one valid file of the corpus, one mutation and one reading, all of it from the seed and the case's
number. It is *loaded*, or *refused* with a `CCAError` of one line of text. Anything else is *lost*, and makes
the status 1: another exception, several lines, bytes that are no text, a crash, more than `SECONDS` or
`MEMORY`, a pickle that was executed, a file that appeared, one that was read from outside of its folder.
"""

import argparse
import gc
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from tabulate import tabulate

from cca.errors import CCAError

from .corpus import Entry, make
from .mutations import MUTATIONS, lists, outside

SECONDS, MEMORY = 60, 2**30
"""Most time of one case, and most bytes of address space beyond what the loaded libraries take."""
OUTCOMES = ("loaded", "refused", "lost")


@dataclass(frozen=True)
class Case:
    """What was done and what came of it."""

    number: int
    loader: str
    mutation: str
    outcome: str
    told: str


def run(entries: list[Entry], folder: Path, seed: int, number: int) -> Case:
    """Perform one case in this process."""
    rng = Random(f"{seed} {number}")
    entry = rng.choice(entries)
    mutate = rng.choice(MUTATIONS)
    canary, scratch = folder / "canary", folder / "scratch"
    path = scratch / entry.path.name
    source = entry.path
    if rng.random() < 0.02:  # a file of another kind under the right name
        source = rng.choice(entries).path
    valid = source.read_bytes()
    path.write_bytes(mutate(valid, rng, canary))
    outcome, told = _outcome(entry, path)
    if outcome == "loaded" and mutate is outside and lists(valid):
        outcome, told = "lost", "a file was read from outside of its folder"
    if canary.exists():
        outcome, told = "lost", "a pickle was executed"
        canary.unlink()
    strays = {item.name for item in scratch.iterdir()} - {path.name}
    strays |= {"escaped"} if (folder / "escaped").exists() else set()
    if strays:
        outcome, told = "lost", f"a file appeared: {sorted(strays)}"
    path.unlink()
    return Case(number, entry.name, mutate.__name__, outcome, told)


def _outcome(entry: Entry, path: Path) -> tuple[str, str]:
    try:
        entry.read(path)
    except BaseException as error:
        printed = str(error).encode(errors="backslashreplace")  # by the command line, on stderr
        told = printed.decode(errors="backslashreplace")
        if not isinstance(error, CCAError):
            return "lost", f"{type(error).__name__}: {told}"
        if told.encode() != printed or len(told.splitlines()) != 1:
            return "lost", f"not one line of text: {told!r}"
        return "refused", told
    return "loaded", ""


def _work(entries: list[Entry], folder: Path, seed: int, first: int, results: Connection) -> None:
    """Perform case after case, in a process of its own with bounded memory, until nobody listens."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries' own words on damaged files
    number = first
    while True:
        case = run(entries, folder, seed, number)
        results.send_bytes(json.dumps(asdict(case)).encode())
        number += 1
        if number % 100 == 0:
            gc.collect()


def campaign(folder: Path, seed: int, seconds: float = math.inf, cases: int | None = None) -> Iterator[Case]:
    """Cases until the time is over, or so many of them; a process that a case ends is replaced."""
    for name in ("corpus", "scratch"):
        (folder / name).mkdir()
    entries = make(folder / "corpus")
    (folder / "resources").symlink_to(folder / "corpus/workflow/resources")  # of a tier file in scratch
    context, number, end = multiprocessing.get_context("fork"), 0, time.monotonic() + seconds
    while time.monotonic() < end and number != cases:
        for left in (folder / "scratch").iterdir():  # by a process that was ended
            left.unlink()
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(entries, folder, seed, number, sender), daemon=True)
        worker.start()
        sender.close()
        while time.monotonic() < end and number != cases:
            told = f"more than {SECONDS} s"
            try:
                if receiver.poll(SECONDS):
                    yield Case(**json.loads(receiver.recv_bytes()))
                    number += 1
                    continue
            except EOFError:
                worker.join()
                told = f"crashed with status {worker.exitcode}"
            except ValueError:
                told = "an answer that cannot be read"
            yield _lost(entries, seed, number, told)
            number += 1
            break
        worker.kill()
        worker.join()
        receiver.close()


def _lost(entries: list[Entry], seed: int, number: int, told: str) -> Case:
    rng = Random(f"{seed} {number}")
    return Case(number, rng.choice(entries).name, rng.choice(MUTATIONS).__name__, "lost", told)


def report(cases: list[Case], seed: int) -> str:
    """Counts by loader and by mutation, and every case that was lost."""
    lines = [f"{len(cases)} cases, seed {seed}", ""]
    for what in ("loader", "mutation"):
        counts = Counter((getattr(case, what), case.outcome) for case in cases)
        names = sorted({name for name, _ in counts})
        rows = [[name, *(counts[name, outcome] for outcome in OUTCOMES)] for name in names]
        rows.append(["all", *(sum(row[column] for row in rows) for column in range(1, 4))])
        lines += [tabulate(rows, [what, *OUTCOMES], tablefmt="github"), ""]
    lost = [case for case in cases if case.outcome == "lost"]
    lines += [f"- case {case.number}, {case.loader}, {case.mutation}: {case.told}" for case in lost]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Run the campaign as the command line says; status 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown file to write; else it is printed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = list(campaign(Path(folder), given.seed, given.minutes * 60))
    text = report(cases, given.seed)
    if given.out:
        given.out.write_text(text)
    else:
        print(text)
    sys.exit(any(case.outcome == "lost" for case in cases))


if __name__ == "__main__":
    main()
