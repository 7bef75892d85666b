"""Starting a stage as several processes: where hosts are, whose error is shown, what signals do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cca.errors import CCAError, StoppedError
from cca.training import launch

from ..conftest import MODEL, World, started


def test_hosts_find_each_other_by_torchruns_variables_or_slurms() -> None:
    config = launch.config(4, 2, {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000", "NODE_RANK": "1"})
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (2, 2, 4)
    assert (config.rdzv_endpoint, config.rdzv_configs["rank"]) == ("10.0.0.1:4000", 1)
    config = launch.config(4, 2, {"MASTER_ADDR": "node7", "SLURM_NODEID": "0"})
    assert (config.rdzv_endpoint, config.rdzv_configs["rank"]) == ("node7:29500", 0)
    for missing in ({}, {"MASTER_ADDR": "node7"}, {"NODE_RANK": "1"}):
        with pytest.raises(CCAError, match="--nodes 2: start the command in a SLURM job, or on"):
            launch.config(4, 2, missing)


def test_in_a_slurm_job_srun_starts_the_command_once_on_each_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node7\necho node9\n")
    (tmp_path / "srun").write_text('#!/bin/sh\necho "$@" "$SLURM_JOB_ID $$"\n')
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {"SLURM_JOB_NODELIST": "node[7,9]", "SLURM_JOB_ID": "40017", "SLURM_CPUS_PER_TASK": "6"}
    code = "from cca.training import launch; launch.start(['pretrain', '--nodes', '2'], 8, 2)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1" in done.stdout, done.stderr
    *_, job, process = done.stdout.split()  # the process that became srun
    port = 20000 + (int(job) + int(process)) % 20000
    assert f"MASTER_ADDR=node7,MASTER_PORT={port} --cpus-per-task=6" in done.stdout
    assert f"{sys.executable} -m cca pretrain --nodes 2 40017 " in done.stdout


def test_processes_that_do_not_divide_among_hosts_or_gpus_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(CCAError, match="--processes 3 do not divide among --nodes 2"):
        launch.start([], 3, 2)
    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(CCAError, match="--processes: 4 on a host that has 2 GPUs; a process takes one GPU"):
        launch.start([], 4, 1)


def test_the_error_shown_is_the_one_that_broke_the_others() -> None:
    broken = SimpleNamespace(message="RuntimeError: connection closed by peer", timestamp=1, exitcode=1)
    ours = SimpleNamespace(message="CCAError: a.npz: no such file", timestamp=2, exitcode=1)
    stopped = SimpleNamespace(message="CCAError: terminated after step 3", timestamp=2, exitcode=75)
    assert str(launch.cause({0: broken, 1: ours})) == "a.npz: no such file"
    assert str(launch.cause({0: broken})) == "a process ended: RuntimeError: connection closed by peer"
    assert isinstance(launch.cause({0: stopped, 1: stopped}), StoppedError)


def command(world: World, out: Path, processes: int, batch: int = 8) -> list[str]:
    settings = {"family": "llamagen", "architecture": MODEL, "steps": 10**6, "batch_size": batch}
    settings |= {"optimisation": {"learning_rate": 1e-3}}
    words = ["--threads", "1", "pretrain", "--settings", json.dumps(settings), "--processes", str(processes)]
    words += ["--tokenizer", str(world.tokenizer), "--codes", str(world.codes), "--out", str(out)]
    return [sys.executable, "-m", "cca", *words]


@pytest.fixture
def environment() -> dict[str, str]:
    """CPU only, a progress bar that shows every step."""
    quick = {"TQDM_MININTERVAL": "0", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    return {**os.environ, **quick}


def running(out: Path) -> list[str]:
    """Processes whose command line names a file."""
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return [line.decode() for line in lines if str(out).encode() in line]


def test_sigterm_stops_all_processes_after_a_step_from_which_they_go_on_and_none_outlives_the_command(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    words, stderr = command(world, tmp_path / "model.safetensors", 2), tmp_path / "stderr"
    process = started(words, environment, stderr)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 75
    assert stderr.read_text().splitlines()[-1].startswith("error: terminated")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.progress.pt", "stderr"]
    again = started(words, environment, stderr)
    assert " 0/1000000" not in stderr.read_text()  # it began at a later step
    again.kill()
    again.wait()
    deadline = time.monotonic() + 60
    while running(tmp_path / "model.safetensors"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_error_of_all_processes_is_one_line(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    words = command(world, tmp_path / "model.safetensors", 2, batch=9)
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line and "it/s" not in line]
    assert errors == ["error: a batch of 9 does not divide among 2 processes; change --processes"]
