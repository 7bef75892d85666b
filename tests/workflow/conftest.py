"""The smoke DAG, run once a session in a folder of its own."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess]


def run_workflow(folder: Path, *arguments: str, config: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run the workflow at the smoke tier with ``folder`` as working directory."""
    command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), "-d", str(folder)]
    return subprocess.run(
        [*command, *arguments, "--config", "tier=smoke", *config], capture_output=True, text=True, cwd=folder
    )


@pytest.fixture(scope="session")
def snakemake() -> Run:
    """``snakemake(folder, *arguments, config=(...))`` at the smoke tier."""
    return run_workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, snakemake: Run) -> Path:
    """A folder in which the whole smoke DAG has run."""
    folder = tmp_path_factory.mktemp("smoke")
    run = snakemake(folder)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be spoiled."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))
