"""The faults that are injected into single stages: each a function of a site, a stage and a generator."""

import ctypes
import datetime
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random

import psutil

from .site import Outcome, Site, not_clear
from .stages import Stage, ended

KEEP_STATE = "CCA_KEEP_EVERY"
KILLS_A_RESUME = 3
TRAINING = {"features", "perceptual", "tokenizer", "pretrain", "finetune"}
"""Rules whose stages keep their state, to go on from."""
OVERRIDES = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of linux/capability.h, by which root ignores permissions."""


def kill_at_a_moment(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Kill -9 at a random moment, several times in a row, then run again."""
    keep = partial(os.environ.__setitem__, KEEP_STATE, rng.choice(["0", "60"]))
    yield from _killed("kill -9 at a random moment", site, stage, partial(_kill, site, stage, rng, keep))


def _kill(site: Site, stage: Stage, rng: Random, prepare: Callable[[], None]) -> None:
    """Kill a stage when it has computed for a random share of its duration, surely before it ends."""
    seconds = site.duration(stage)
    while True:
        child, moment = site.start(stage, prepare), rng.uniform(0, seconds)
        process = psutil.Process(child)
        while process.status() != psutil.STATUS_ZOMBIE and sum(process.cpu_times()[:2]) < moment:
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        if ended(child)[0] == -signal.SIGKILL:
            return
        site.clear(stage)
        seconds = moment


def kill_at_a_file(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Kill -9 just before a random one of the stage's operations on files, several times in a row."""

    def kill() -> None:
        most = 12
        while True:
            number = rng.randint(1, most)
            if ended(site.start(stage, partial(_kill_before_operation, number)))[0] == -signal.SIGKILL:
                return
            site.clear(stage)
            most = max(number - 1, 1)

    yield from _killed("kill -9 at a file operation", site, stage, kill)


def _kill_before_operation(number: int) -> None:
    """Let this process be killed before it opens to write, renames or removes for the ``number``-th time."""
    folder, remaining = Path.cwd(), iter(range(number - 1, -1, -1))

    def hook(event: str, arguments: tuple) -> None:
        if event not in {"open", "os.rename", "os.remove"} or isinstance(arguments[0], int):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        path = folder / os.fsdecode(arguments[0])
        if path.is_relative_to(folder) and not next(remaining):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _killed(fault: str, site: Site, stage: Stage, kill: Callable[[], None]) -> Iterator[Outcome]:
    site.clear(stage)
    halves = []
    for _ in range(KILLS_A_RESUME):
        kill()
        halves.append(site.half_written(stage))
    wrong = site.resumed(stage)
    for half in halves:
        told = half or wrong
        yield Outcome(fault, str(stage), "lost" if told else "survived", told)


def damaged_state(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Spoil the state that a killed training left, then run again."""
    site.clear(stage)
    while not (site.folder / stage.state).exists():
        _kill(site, stage, rng, partial(os.environ.__setitem__, KEEP_STATE, "0"))
    rng.choice([truncate, flip])(site.folder / stage.state, rng)
    wrong = site.resumed(stage)
    yield Outcome("damaged state of a training", str(stage), "lost" if wrong else "survived", wrong)


def truncate(path: Path, rng: Random) -> None:
    """Cut a file anywhere."""
    os.truncate(path, rng.randrange(path.stat().st_size))


def flip(path: Path, rng: Random) -> None:
    """Turn one bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def spoilable(stage: Stage) -> list[Path]:
    """The inputs of a stage that other stages made."""
    return [path for path in stage.inputs if path.parts[0] == "results"]


def truncated_input(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage on an input that was cut after it was made."""
    path = rng.choice(spoilable(stage))
    yield _damaged("truncated input", site, stage, path, partial(truncate, rng=rng))


def flipped_input(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage on an input of which a bit was turned."""
    path = rng.choice(spoilable(stage))
    yield _damaged("bit-flipped input", site, stage, path, partial(flip, rng=rng))


def truncated_record(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage on an input whose record was cut."""
    path = rng.choice(spoilable(stage))
    yield _damaged("truncated record of an input", site, stage, path, partial(truncate, rng=rng), record=True)


def flipped_record(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage on an input of whose record a bit was turned."""
    path = rng.choice(spoilable(stage))
    yield _damaged("bit-flipped record of an input", site, stage, path, partial(flip, rng=rng), record=True)


def _damaged(
    fault: str, site: Site, stage: Stage, path: Path, spoil: Callable[[Path], None], record: bool = False
) -> Outcome:
    site.clear(stage)
    spoiled = site.record_of(path) if record else path
    spoil(site.folder / spoiled)
    status, told = site.run(stage)
    wrong = site.refused(stage, status, told, path, spoiled) if status else site.wrong(stage)
    site.restore([spoiled])
    good = "refused" if status else "survived"
    return Outcome(fault, f"{stage}: {spoiled}", "lost" if wrong else good, wrong)


def _then_again(
    fault: str, site: Site, stage: Stage, status: int, told: str, mend: Callable[[], None]
) -> Outcome:
    """Judge a run that the machine's state hindered, mend that, and judge the next run."""
    there = Path(stage.out.parent.name) / stage.out.stem
    wrong = site.wrong(stage) if status == 0 else site.refused(stage, status, told, there, stage.out.parent)
    mend()
    wrong = wrong or (site.resumed(stage) if status else "")
    return Outcome(fault, str(stage), "lost" if wrong else "refused" if status else "survived", wrong)


def full_disk(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage where a part of what it writes has room, on a file system of its own."""
    with small_disk(site.folder.parent / "disk") as disk:
        there = Site(site.truth, disk, site.log)
        needed = spoilable(stage)
        there.restore([*needed, *map(site.record_of, needed)])
        size = sum((site.truth / path).stat().st_size for path in stage.outputs)
        (disk / stage.out).parent.mkdir(parents=True, exist_ok=True)
        filler = fill(disk, rng.randrange(size + 4096))
        status, told = there.run(stage)
        yield _then_again("full disk", there, stage, status, told, filler.unlink)


def fill(disk: Path, free: int) -> Path:
    """Leave ``free`` bytes of a file system: the file that takes the others."""
    filler = disk / "filler"
    state = os.statvfs(disk)
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(state.f_bavail * state.f_frsize - free, 1))
    return filler


@contextmanager
def small_disk(folder: Path, megabytes: int = 64) -> Iterator[Path]:
    """Mount a file system in memory; only root may."""
    folder.mkdir(exist_ok=True)
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def limited_file(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage under a limit of the size of files, below that of its largest output."""
    largest = max((site.truth / path).stat().st_size for path in stage.outputs)
    limit = rng.randrange(2048, max(largest, 2049))
    site.clear(stage)
    status, told = site.run(stage, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    yield _then_again("limit of a file's size", site, stage, status, told, lambda: None)


def read_only(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage whose folder may not be written."""
    site.clear(stage)
    folder = (site.folder / stage.out).parent
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    status, told = site.run(stage, obey_permissions)
    yield _then_again("read-only folder", site, stage, status, told, partial(folder.chmod, mode))


def obey_permissions() -> None:
    """Give up root's right to ignore permissions, in this process and those that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the lower 32, then the upper
    libc.capget(header, sets)
    for number in OVERRIDES:
        libc.prctl(24, number, 0, 0, 0)  # PR_CAPBSET_DROP
        for index in range(3):
            sets[index] &= ~(1 << number)
    libc.capset(header, sets)


def jumping_clock(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage while the clock jumps, by up to a month to and fro."""
    site.clear(stage)
    status, told = site.run(stage, partial(_let_clock_jump, rng.random()))
    wrong = site.wrong(stage) if status == 0 else f"status {status}: {told[-300:]}"
    yield Outcome("jumping clock", str(stage), "lost" if wrong else "survived", wrong)


def _let_clock_jump(seed: float) -> None:
    jump, now, month = Random(seed), time.time, 30 * 86400

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, zone: datetime.tzinfo | None = None) -> datetime.datetime:
            return cls.fromtimestamp(time.time(), zone)

    time.time = lambda: now() + jump.uniform(-month, month)
    import_module("cca.records.provenance").datetime = Jumping


def two_at_once(site: Site, stage: Stage, rng: Random) -> Iterator[Outcome]:
    """Run a stage twice at the same time."""
    site.clear(stage)
    other = Site(site.truth, site.folder, site.log.with_suffix(".2"))
    first = site.start(stage)
    time.sleep(rng.choice([0, rng.random()]))
    second = other.start(stage)
    ends = [(ended(child)[0], here.log.read_text()) for child, here in ((first, site), (second, other))]
    failed = [end for end in ends if end[0]]
    wrong = site.wrong(stage) or "".join(not_clear(*end, stage.out) for end in failed)
    good = "refused" if failed else "survived"
    yield Outcome("a stage twice at once", str(stage), "lost" if wrong else good, wrong)
