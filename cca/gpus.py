"""GPUs that jobs ask for, held against those that torch sees: before a run on this machine, in every job."""

import os
import socket
from collections.abc import Mapping
from typing import Literal

import torch

from cca.errors import CCAError
from cca.resources import Resources

Device = Literal["auto", "gpu"]
"""What a job computes on: a GPU if torch sees one, or nothing but a GPU."""


def check_job(device: Device) -> None:
    """Raise a `CCAError` where a job is for a GPU and torch sees none on this host."""
    if device == "gpu" and not torch.cuda.is_available():
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise CCAError(
            f"--device gpu: torch {torch.__version__} sees no GPU on {socket.gethostname()} "
            f"(CUDA_VISIBLE_DEVICES: {given}): look at the driver and at torch's build, or compute "
            "on the CPU, with 'gpus: 0' in the tier's 'resources'"
        )


def check_run(resources: Mapping[str, Resources], wanted: Mapping[str, int]) -> None:
    """Refuse a run on this machine before it begins.

    Args:
        resources: the tier's section, of which the message says what to change.
        wanted: how many GPUs the jobs of the run ask for, by rule.

    Raises:
        CCAError: a rule asks for more than torch sees.
    """
    here = torch.cuda.device_count()
    for rule, gpus in wanted.items():
        if gpus > here:
            fewer = ", ".join(f"{name}: {{gpus: {here}}}" for name, of in resources.items() if of.gpus > here)
            raise CCAError(
                f"rule '{rule}' asks for gpus: {gpus}, and torch sees {here} here: run it on a cluster "
                "(docs/cluster.md), plan only (snakemake -n), or ask for what is here, "
                f"--config 'resources={{{fewer}}}'"
            )
