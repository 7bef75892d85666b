"""Two hosts, made as network namespaces with a cable between them, train together over it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from . import distributed_runs
from .conftest import World, skip_but_in_ci
from .test_distributed import ROUNDING, log, prepared

HOSTS = [f"cca{os.getpid()}{name}" for name in "ab"]
ADDRESSES = ["10.213.77.1", "10.213.77.2"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Namespaces that see nothing but each other, through an interface of their own name."""
    with ExitStack() as undo:
        try:
            for host in HOSTS:
                ip("netns", "add", host)
                undo.callback(ip, "netns", "del", host)
            ip(
                "link",
                "add",
                HOSTS[0],
                "netns",
                HOSTS[0],
                "type",
                "veth",
                "peer",
                HOSTS[1],
                "netns",
                HOSTS[1],
            )
            for host, address in zip(HOSTS, ADDRESSES, strict=True):
                ip("-n", host, "addr", "add", f"{address}/24", "dev", host)
                for device in ("lo", host):
                    ip("-n", host, "link", "set", device, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            skip_but_in_ci(
                f"needs network namespaces (root, iproute2): {getattr(error, 'stderr', None) or error}"
            )
        yield HOSTS


def test_two_hosts_finetune_as_one_process(hosts: list[str], world: World, tmp_path: Path) -> None:
    folder = prepared(world, tmp_path)
    settings = {"objective": distributed_runs.OBJECTIVE, "batch_size": distributed_runs.BATCH}
    settings |= {"optimisation": distributed_runs.OPTIMISATION}
    words = [sys.executable, "-m", "cca", "--threads", "1", "finetune", "--processes", "2", "--nodes", "2"]
    words += ["--settings", json.dumps(settings), "--seed", "0"]
    for name in ("base.safetensors", "tokenizer.safetensors", "codes.npz", "pairs.npz", "scores.npz"):
        words += [f"--{name.partition('.')[0]}", str(folder / name)]
    words += ["--out", str(folder / "together.safetensors")]
    common = {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    common |= {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29511"}
    running = []
    for rank, host in enumerate(hosts):
        environment = {**os.environ, **common, "NODE_RANK": str(rank), "GLOO_SOCKET_IFNAME": host}
        command = ["ip", "netns", "exec", host, *words]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
    record = json.loads((folder / "together.provenance.json").read_text())
    assert record["measured"]["processes"] == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        distributed_runs.finetuning(folder, "alone")
    for row, expected in zip(log(folder / "together.x"), log(folder / "alone.x"), strict=True):
        assert row == pytest.approx(expected, **ROUNDING)
