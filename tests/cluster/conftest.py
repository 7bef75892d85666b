"""A real SLURM of two nodes on this machine, started for these tests by root."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PROFILE = REPOSITORY / "profiles/slurm"
Run = subprocess.Popen
CONFIGURATION = Path("/etc/slurm")  # the only place where job steps look
COMMANDS = ("munged", "slurmctld", "slurmd", "squeue")
SECONDS_TO_START = 30


def why_not() -> str | None:
    """What keeps a cluster from being started here, if anything."""
    if missing := [name for name in COMMANDS if not shutil.which(name)]:
        return f"no SLURM here: {', '.join(missing)} not found (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "only root can start SLURM's daemons"
    configured = CONFIGURATION / "slurm.conf"
    if configured.exists() and "tests/cluster" not in configured.read_text():
        return f"{configured} is there: this machine has a cluster of its own"
    return None


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


class Cluster:
    """The cluster, to the tests."""

    def jobs(self) -> list[Job]:
        """Every job that the cluster has seen, the first one first."""
        columns = "%i|%k|%T|%N|%b|%l|%m"
        asked = ["squeue", "--noheader", "--states=all", "--sort=i", "-o", columns]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        rows = [line.split("|") for line in told.splitlines()]
        return [
            Job(int(number), re.sub("_wildcards.*|^rule_", "", comment), *others)
            for number, comment, *others in rows
        ]

    def begin(
        self, folder: Path, *arguments: str, config: tuple[str, ...] = (), profile: Path = PROFILE
    ) -> Run:
        """Start Snakemake at the smoke tier in ``folder``, its stages being jobs."""
        command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), "-d", str(folder)]
        through = ["--workflow-profile", str(profile), "--latency-wait", "5", "--slurm-no-account"]
        status = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
        return subprocess.Popen(
            [*command, *through, *status, *arguments, "--config", "tier=smoke", *config],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
        )

    def run(self, folder: Path, *arguments: str, **options: object) -> tuple[int, str, list[Job]]:
        """The same, to its end: its status, what it printed, and the jobs that it submitted."""
        before = {job.number for job in self.jobs()}
        run = self.begin(folder, *arguments, **options)
        printed, _ = run.communicate()
        return run.returncode, printed, [job for job in self.jobs() if job.number not in before]


def start(folder: Path) -> None:
    """Write the configuration, start the daemons, wait for both nodes."""
    for name in ("state", "spool.n1", "spool.n2"):
        (folder / name).mkdir()
    CONFIGURATION.mkdir(exist_ok=True)
    text = (HERE / "slurm.conf").read_text().replace("{folder}", str(folder))
    (CONFIGURATION / "slurm.conf").write_text(text)
    (CONFIGURATION / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    if subprocess.run(["munge", "-n"], capture_output=True).returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(["munged"], check=True, user="munge", group="munge", extra_groups=[])
    subprocess.run(["slurmctld"], check=True)
    for node in ("n1", "n2"):
        subprocess.run(["slurmd", "-N", node], check=True)
    deadline = time.monotonic() + SECONDS_TO_START
    while subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout.split() != [
        "idle"
    ]:
        if time.monotonic() > deadline:
            logs = [path.read_text()[-1000:] for path in folder.glob("*.log")]
            pytest.fail("the test cluster did not start:\n" + "\n".join(logs))
        time.sleep(0.5)


def stop(folder: Path) -> None:
    """End the daemons that `start` started, munge apart, and remove the configuration."""
    subprocess.run(["scancel", "--user=root", "--full"], capture_output=True)
    for pid in folder.glob("*.pid"):
        os.kill(int(pid.read_text()), signal.SIGTERM)
    for name in ("slurm.conf", "gres.conf"):
        (CONFIGURATION / name).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster, for as long as the tests run."""
    reason = why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    try:
        start(folder)
        yield Cluster()
    finally:
        stop(folder)
