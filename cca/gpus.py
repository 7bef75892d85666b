"""GPUs that jobs ask for: held against those that torch sees, and on one machine had by one job at a time."""

import os
import re
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from cca.errors import CCAError
from cca.files.locks import exclusive
from cca.resources import Resources

POLL = 1.0
"""Seconds between two looks for free GPUs."""
_taken: list[ExitStack] = []  # until this process ends, however it ends


def wanted(device: str) -> int:
    """How many GPUs ``--device`` asks for: none for "auto", one for "gpu", N for "gpu:N".

    Raises:
        CCAError: anything else.
    """
    if not (form := re.fullmatch(r"auto|gpu(?::([1-9]\d*))?", device)):
        raise CCAError(f"--device {device}: give auto, gpu, or gpu:N for N of them")
    return 0 if device == "auto" else int(form[1] or 1)


def check_job(device: str) -> None:
    """Raise a `CCAError` where a job is for a GPU and torch sees none on this host."""
    if wanted(device) and not torch.cuda.is_available():
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise CCAError(
            f"--device {device}: torch {torch.__version__} sees no GPU on {socket.gethostname()} "
            f"(CUDA_VISIBLE_DEVICES: {given}): look at the driver and at torch's build, or compute "
            "on the CPU, with 'gpus: 0' in the tier's 'resources'"
        )


def occupy(device: str) -> None:
    """Compute on GPUs that no other job of this user computes on; wait for them.

    One becomes torch's current device; several are those that processes started from here see. Within a step
    of a SLURM job, which sees GPUs of its own, jobs wait for each other alone; there one for several GPUs
    takes all that it sees, since a site may have given it another number. With "auto" nothing is done.

    Raises:
        CCAError: more than torch sees.
    """
    count = wanted(device)
    if not count:
        return
    here = torch.cuda.device_count()
    step = [os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")]
    if count > 1 and step[0]:
        count = max(here, 1)
    if count > here:
        raise CCAError(f"--device {device}: torch sees {here} here")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(here)))).split(",")
    folder = Path(tempfile.gettempdir(), f"cca-gpus-{os.getuid()}")
    found, held = free(visible[:here], count, folder, "-".join([socket.gethostname(), *step]))
    _taken.append(held)
    if count == 1:
        torch.cuda.set_device(visible.index(found[0]))
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(found)


def free(names: list[str], count: int, folder: Path, group: str) -> tuple[list[str], ExitStack]:
    """Wait until ``count`` of the GPUs called ``names`` are free; return these, and what holds them.

    Names are those of ``group``: another group has other GPUs. All are taken at once, and who waits is passed
    by nobody, so that jobs of one and of several GPUs end.
    """
    with exclusive(folder / f"{group}-queue", wait=True):
        while True:
            found: list[str] = []
            with ExitStack() as held:
                for name in names:
                    try:
                        lock = held.enter_context(exclusive(folder / f"{group}-{name.replace('/', '_')}"))
                    except CCAError:  # another job's
                        continue
                    os.set_inheritable(lock.fileno(), True)  # a training becomes `srun`, and keeps its GPUs
                    found.append(name)
                    if len(found) == count:
                        return found, held.pop_all()
            time.sleep(POLL)


def check_run(resources: Mapping[str, Resources], wanted: Mapping[str, int]) -> None:
    """Refuse a run on this machine before it begins.

    Args:
        resources: the tier's section, of which the message says what to change.
        wanted: how many GPUs the jobs of the run ask for, by rule.

    Raises:
        CCAError: a rule asks for more than torch sees, the first such by name.
    """
    here = torch.cuda.device_count()
    for rule, gpus in sorted(wanted.items()):
        if gpus > here:
            fewer = ", ".join(f"{name}: {{gpus: {here}}}" for name, of in resources.items() if of.gpus > here)
            raise CCAError(
                f"rule '{rule}' asks for gpus: {gpus}, and torch sees {here} here: run it on a cluster "
                "(docs/cluster.md), plan only (snakemake -n), or ask for what is here, "
                f"--config 'resources={{{fewer}}}'"
            )
