"""A real SLURM of two nodes on this machine, started for these tests by root.

Its daemons, and all that they start, are in a namespace of processes whose first one is killed when the tests
end, however they end: then the kernel kills the others.
"""

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..conftest import skip_but_in_ci
from ..smoke import command

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PROFILE = REPOSITORY / "profiles/slurm"
CONFIGURATION = Path("/etc/slurm")  # the only place where job steps look
COMMANDS = ("munged", "slurmctld", "slurmd", "squeue", "setpriv", "unshare")
SECONDS_TO_START = 120
UNTIL_WE_END = ["setpriv", "--pdeathsig", "KILL"]
NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
DAEMONS = """
munged --force --socket=munge.socket --key-file=munge.key --log-file=munge.log \\
    --pid-file=munge.pid --seed-file=munge.seed
slurmctld -D & slurmd -D -N n1 & slurmd -D -N n2 & wait
"""


def why_not() -> str | None:
    """What keeps a cluster from being started here, if anything."""
    if missing := [name for name in COMMANDS if not shutil.which(name)]:
        return f"no SLURM here: {', '.join(missing)} not found (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "only root can start SLURM's daemons"
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        return "no namespaces of processes here, so that a cluster could not be ended for sure"
    configured = CONFIGURATION / "slurm.conf"
    if configured.exists() and "tests/cluster" not in configured.read_text():
        return f"{configured} is there: this machine has a cluster of its own"
    return None if claimed() else "another run of these tests has its cluster here"


def claimed() -> bool:
    """Whether the configuration is ours, until this process ends."""
    CONFIGURATION.mkdir(exist_ok=True)
    try:
        fcntl.flock(os.open(CONFIGURATION, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True)
class Job:
    """A job as squeue tells it."""

    number: int
    rule: str
    state: str
    nodes: str
    generic: str
    minutes: str
    memory: str
    partition: str
    constraint: str


class Run:
    """A run of Snakemake at the smoke tier in ``folder``, its stages being jobs of the cluster."""

    def __init__(
        self, folder: Path, *arguments: str, config: tuple[str, ...] = (), profile: Path = PROFILE
    ) -> None:
        through = ["--workflow-profile", str(profile), "--latency-wait", "5", "--slurm-no-account"]
        status = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
        call = command(folder, *through, *status, *arguments, config=config)
        self.folder = folder
        descriptor, printed = tempfile.mkstemp(suffix=".printed", dir=folder)  # a pipe unread would fill
        with os.fdopen(descriptor, "w") as output:
            self._process = subprocess.Popen(
                [*UNTIL_WE_END, *call], stdout=output, stderr=subprocess.STDOUT, cwd=folder
            )
        self._printed = Path(printed)

    @property
    def printed(self) -> str:
        """What it has printed as yet."""
        return self._printed.read_text()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def submitted(self) -> list[int]:
        """Numbers of the jobs that it has submitted, the first one first."""
        return [int(number) for number in re.findall(r"SLURM jobid (\d+)", self.printed)]

    @property
    def jobs(self) -> list[Job]:
        """What the cluster tells of them."""
        return [job for job in jobs() if job.number in self.submitted]

    def wait(self) -> int:
        """Its status, once it has ended."""
        return self._process.wait()


def jobs() -> list[Job]:
    """Every job that the cluster has seen, the first one first."""
    columns = "%i|%k|%T|%N|%b|%l|%m|%P|%f"
    asked = ["squeue", "--noheader", "--states=all", "--sort=i", "-o", columns]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    rows = [line.split("|") for line in told.splitlines()]
    return [
        Job(int(number), re.sub("_wildcards.*|^rule_", "", comment), *others)
        for number, comment, *others in rows
    ]


@contextmanager
def daemons(folder: Path) -> Iterator[None]:
    """Write the configuration, start the daemons, wait for both nodes; in the end remove and end them."""
    for name in ("state", "spool.n1", "spool.n2"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(64))
    (folder / "munge.key").chmod(0o600)
    configuration = {
        "slurm.conf": (HERE / "slurm.conf").read_text().replace("{folder}", str(folder)),
        "gres.conf": "".join(f"Name=gpu Type=a100 File=/dev/{name}\n" for name in ("null", "zero")),
    }
    for name, text in configuration.items():
        (CONFIGURATION / name).write_text(text)
    command = [*UNTIL_WE_END, *NAMESPACE, "sh", "-c", DAEMONS]
    with (folder / "daemons.log").open("w") as log:
        first = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for_nodes(folder)
        yield
    finally:
        first.kill()
        first.wait()
        for name in configuration:
            (CONFIGURATION / name).unlink()


def wait_for_nodes(folder: Path) -> None:
    """Until both are idle."""
    deadline = time.monotonic() + SECONDS_TO_START
    asked = ["sinfo", "--noheader", "--format", "%D %T"]
    while subprocess.run(asked, capture_output=True, text=True).stdout.split() != ["2", "idle"]:
        if time.monotonic() > deadline:
            logs = [f"{path.name}: {path.read_text()[-1000:]}" for path in folder.glob("*.log")]
            pytest.fail("the test cluster did not start:\n" + "\n".join(logs))
        time.sleep(0.5)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The cluster, for as long as the tests run."""
    if reason := why_not():
        skip_but_in_ci(reason)
    with daemons(tmp_path_factory.mktemp("slurm")):
        yield
