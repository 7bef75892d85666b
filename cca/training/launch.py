"""Starting a stage again as several processes that train together, on this host or on each host of a job.

The processes of a host are started by torch's elastic agent, which is torchrun's. The hosts find each other
by torchrun's environment variables, or by SLURM's, where ``srun`` starts the command once on each.
"""

import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cca.errors import CCAError, StoppedError

PORT = 29500
PR_SET_PDEATHSIG = 1


def start(command: list[str], processes: int, nodes: int) -> None:
    """Run ``cca`` with the words ``command`` in so many processes, on so many hosts together, to its end.

    Raises:
        CCAError: they do not divide among the hosts, a host has too few GPUs, hosts cannot find each other;
            or what one of the processes ended with.
        StoppedError: SIGTERM, which is passed on to the processes and waited for.
    """
    environment = os.environ
    if processes % nodes:
        raise CCAError(f"--processes {processes} do not divide among --nodes {nodes}")
    if nodes > 1 and "MASTER_ADDR" not in environment and "SLURM_JOB_ID" in environment:
        there = srun(nodes, first_host(environment), environment)
        os.execvpe(there[0], [*there, sys.executable, "-m", "cca", *command], environment)
    each, present = processes // nodes, torch.cuda.device_count()
    if 0 < present < each:
        raise CCAError(f"--processes: {each} on a host that has {present} GPUs; a process takes one GPU")
    environment.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    environment.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "900")  # a large state takes long to write
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the error is one line, ours
    run = elastic_launch(config(each, nodes, environment), sys.executable)
    try:
        run("-m", "cca", *command)
    except SignalException as error:
        if error.sigval == signal.SIGTERM:
            raise StoppedError("terminated; run the same command again") from None
        raise CCAError("interrupted; run the same command again") from None
    except ChildFailedError as error:
        raise cause(error.failures) from None


def first_host(environment: Mapping[str, str]) -> str:
    """The first host of a SLURM job; this one, where its script runs, if the list is not handed down."""
    if "SLURM_JOB_NODELIST" not in environment:  # as Snakemake's executor does
        return socket.gethostname()
    hosts = subprocess.run(["scontrol", "show", "hostnames"], capture_output=True, text=True, check=True)
    return hosts.stdout.split()[0]


def srun(nodes: int, first: str, environment: Mapping[str, str]) -> list[str]:
    """The words that start a command once on each host of a SLURM job, where ``first`` leads."""
    port = 20000 + (int(environment["SLURM_JOB_ID"]) + os.getpid()) % 20000  # a job may run several
    cpus = environment.get("SLURM_CPUS_PER_TASK")
    return [
        "srun",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        "--overlap",
        "--cpu-bind=none",
        "--kill-on-bad-exit=1",
        f"--export=ALL,MASTER_ADDR={first},MASTER_PORT={port}",
        *([f"--cpus-per-task={cpus}"] if cpus else []),  # which a step has not from its job
    ]


def config(each: int, nodes: int, environment: Mapping[str, str]) -> LaunchConfig:
    """What torch's agent is told: ``each`` processes on this host, which is one of ``nodes``.

    Raises:
        CCAError: the environment does not say where the first host is, or which one this is.
    """
    common: dict[str, Any] = {
        "min_nodes": nodes,
        "max_nodes": nodes,
        "nproc_per_node": each,
        "max_restarts": 0,
    }
    if nodes == 1:
        common |= {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
        return LaunchConfig(**common, run_id=uuid4().hex)
    rank = environment.get("NODE_RANK", environment.get("SLURM_NODEID"))
    if "MASTER_ADDR" not in environment or rank is None:
        raise CCAError(
            f"--nodes {nodes}: start the command in a SLURM job, or on every host with MASTER_ADDR, the "
            f"first one's address, and NODE_RANK, its own number from 0 to {nodes - 1}, in the environment"
        )
    endpoint = f"{environment['MASTER_ADDR']}:{environment.get('MASTER_PORT', PORT)}"
    common |= {"rdzv_backend": "static", "rdzv_endpoint": endpoint, "rdzv_configs": {"rank": int(rank)}}
    return LaunchConfig(**common, run_id="cca")


def cause(failures: Mapping[int, ProcessFailure]) -> CCAError:
    """The one error to show of those that processes ended with: what was wrong, not what it broke."""
    first = min(failures.values(), key=lambda failure: (not is_ours(failure), failure.timestamp))
    if is_ours(first):
        text = first.message.removeprefix("CCAError: ")
        return StoppedError(text) if first.exitcode == StoppedError.status else CCAError(text)
    return CCAError(f"a process ended: {first.message}")


def is_ours(failure: ProcessFailure) -> bool:
    """Whether a process ended by a mistake in the input."""
    return failure.message.startswith("CCAError: ")


def follow_parent() -> None:
    """Let this process be killed when the one that started it is (Linux)."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("error: the process that started this one is gone")


def tell_parent(line: str, known: bool) -> None:
    """Leave an error's line, and whether it is a `CCAError`'s, for `start` to find."""
    content = {"message": f"CCAError: {line}" if known else line, "timestamp": int(time.time())}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(content))
