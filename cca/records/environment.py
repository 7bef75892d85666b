"""The environment that a number was computed in, as far as it may move the number."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from cca.device import pick

PACKAGES = [
    "accelerate",
    "huggingface-hub",
    "jinja2",
    "matplotlib",
    "mlxtend",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "pyyaml",
    "requests",
    "safetensors",
    "scipy",
    "snakemake",
    "tabulate",
    "threadpoolctl",
    "torch",
    "torch-fidelity",
    "torchvision",
    "tqdm",
    "typer",
]
"""Every dependency that pyproject.toml declares."""
OF_TRAINING = ["accelerate", "numpy", "pillow", "torch", "torchvision"]
"""Those that a training computes with: by another version it does not go on to the same bits."""


def environment(packages: Iterable[str] = PACKAGES) -> dict:
    """Versions of ``packages`` and of the interpreter, machine, device and number of threads."""
    device = pick()
    return {
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else cpu(),
        "threads": torch.get_num_threads(),
    }


def cpu(information: Path = Path("/proc/cpuinfo")) -> str:
    """Name of the processor's model, or what else is known of it."""
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
