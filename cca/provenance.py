"""Provenance: the record beside every artefact that says what made it."""

import importlib.metadata
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import torch

import cca
from cca.device import pick
from cca.files import sha256, write_json
from cca.settings import Settings

PACKAGES = ["numpy", "safetensors", "scipy", "snakemake", "torch", "torch-fidelity", "torchvision"]


def record_path(artefact: Path) -> Path:
    """Where an artefact's record lies: ``x.npz`` has ``x.provenance.json``."""
    return artefact.with_name(f"{artefact.stem}.provenance.json")


class Recorder:
    """Measures a stage, from construction to `finish`.

    Raises:
        CCAError: an input does not exist.
    """

    def __init__(
        self, stage: str, settings: Settings, inputs: dict[str, list[Path]], arguments: dict | None = None
    ):
        self._begun, self._started = perf_counter(), datetime.now(UTC)
        self._record = {
            "stage": stage,
            "settings": settings.model_dump(mode="json"),
            "arguments": arguments or {},
            "inputs": {
                name: [{"path": str(path), "sha256": sha256(path)} for path in paths]
                for name, paths in inputs.items()
            },
        }

    def finish(self, out: Path, measured: dict) -> None:
        """Write the record of ``out`` and say so; ``measured`` is what the stage reports of itself."""
        record = self._record | {
            "output": {"path": str(out), "sha256": sha256(out)},
            "measured": measured,
            "code": code_version(),
            "environment": environment(),
            "started": self._started.isoformat(timespec="seconds"),
            "wall_seconds": round(perf_counter() - self._begun, 2),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        write_json(record_path(out), record)
        print(f"{record['stage']}: wrote {out} in {record['wall_seconds']} s; {measured}")


def code_version() -> dict:
    """Version of this package and, in a git checkout, its commit and whether files were changed."""
    here = Path(cca.__file__).parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(here), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    version = {"version": cca.__version__}
    if git("ls-files", "--error-unmatch", "__init__.py"):
        version |= {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    return version


def environment() -> dict:
    """Packages, interpreter, machine, device and number of threads."""
    device = pick()
    return {
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
    }
