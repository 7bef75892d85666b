"""Provenance: the record beside every artefact that says what made it."""

import glob
import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

import cca
from cca.errors import CCAError
from cca.files import read_json, remove_temporaries, require, sha256, write_json
from cca.files.locks import exclusive
from cca.records.codebase import digest
from cca.records.environment import OF_TRAINING, environment
from cca.settings import Settings

SUFFIX = ".provenance.json"
RESULTS_DEPEND_ON = (":/cca", ":/workflow", ":/Snakefile", ":/profiles")
"""What of a checkout is looked at for changes; the container images have not all of the rest."""
COMMAND_LINE = ("cca.cli.", "cca.records.provenance.", "cca.runner.")
"""Modules, and all in them, that every stage is started by and that no result depends on."""


def record_path(artefact: Path) -> Path:
    """Where an artefact's record lies: ``x.npz`` has ``x.provenance.json``."""
    return artefact.with_name(f"{artefact.stem}{SUFFIX}")


def record_of(file: Path) -> dict | None:
    """The record that names a file: as a stage's output, or as one written beside it under the same name.

    None where no record does: the file was given, or the stage that wrote it was killed before its record.

    Raises:
        CCAError: the record is damaged.
    """
    stem = file.name
    while stem := stem.rpartition(".")[0]:  # model.log.csv lies beside model.safetensors
        path = file.with_name(f"{stem}{SUFFIX}")
        if path.is_file() and file.name in written(record := read_record(path)):
            return record
    return None


def read_record(path: Path) -> dict:
    """A record, or a one-line `CCAError` where it is missing or damaged."""
    require(path)
    try:
        record = read_json(path)
        written(record)
        for entry in chain.from_iterable(record["inputs"].values()):
            Path(entry["path"]), entry["sha256"]
    except (AttributeError, CCAError, KeyError, TypeError):
        raise CCAError(
            f"{path}: damaged, or not a record of a stage; delete it and what it is of, "
            "have snakemake make that by its name, then run the same command again"
        ) from None
    return record


def written(record: dict) -> dict[str, str]:
    """Name and SHA-256 of what a stage wrote beside its record: its output and what came with it."""
    output = record["output"]
    return {Path(output["path"]).name: output["sha256"], **record.get("beside", {})}


def unchanged(path: Path) -> dict[str, str]:
    """`described`, of a file that is what its record says of it, or that has none.

    Raises:
        CCAError: no such file, or another content than the stage wrote that made it.
    """
    found = described(path)
    record = record_of(path)
    kept = written(record)[path.name] if record else found["sha256"]
    if kept != found["sha256"]:
        raise CCAError(
            f"{path}: not what its stage wrote, whose record says another SHA-256: damaged or edited; "
            "delete it, have snakemake make it by this name, then run the same command again"
        )
    return found


@contextmanager
def recorded(
    stage: str,
    module: str,
    settings: Settings,
    inputs: dict[str, list[Path]],
    out: Path,
    arguments: dict | None = None,
) -> Iterator[dict]:
    """Keep the record of a stage, which runs in the block and is alone in writing ``out``.

    Yields a dict for what the stage reports of itself. An older record is removed before the block,
    so that none ever lies beside an output that it does not describe. Inputs are files or folders.
    ``beside`` has the checksums of what the stage wrote under the same name with other suffixes: logs,
    pages, pictures. The code is recorded as it is before the block, since its files may be edited meanwhile.

    Raises:
        CCAError: an input does not exist or is not what its record says, or another process is writing
            ``out``.
    """
    begun, started = perf_counter(), datetime.now(UTC)
    code = code_version(module)
    record: dict[str, Any] = {
        "stage": stage,
        "settings": settings.model_dump(mode="json"),
        "arguments": arguments or {},
        "inputs": {name: [unchanged(path) for path in paths] for name, paths in inputs.items()},
    }
    with exclusive(out):
        remove_temporaries(out)  # of one that was killed
        record_path(out).unlink(missing_ok=True)
        older = stamps(out)
        measured: dict = {}
        yield measured
        record |= {
            "output": described(out),
            "beside": {
                name: sha256(out.with_name(name))
                for name in sorted(dict(stamps(out).items() - older.items()))
            },
            "measured": measured,
            "code": code | {"sha256": code_checksum(module)},  # with plug-ins that were loaded in the block
            "environment": environment(),
            "started": started.isoformat(timespec="seconds"),
            "wall_seconds": round(perf_counter() - begun, 2),
            **peak_memory(),
        }
        write_json(record_path(out), record)
    print(f"{stage}: wrote {out} in {record['wall_seconds']} s; {measured}")


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    """The other files named as an output up to its suffix, with what changes when they are written again."""
    own, state = {out.name, record_path(out).name}, f"{out.stem}.progress."
    others = [
        path
        for path in out.parent.glob(f"{glob.escape(out.stem)}.*")
        if path.name not in own and not path.name.startswith(state)
    ]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in others}


def peak_memory() -> dict[str, int]:
    """Most memory that this process, or one that it started, took at once; of its GPU where it has one."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peaks = {"peak_memory_bytes": max(resource.getrusage(kind).ru_maxrss for kind in kinds) * 1024}
    if torch.cuda.is_available():
        peaks["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
    return peaks


def described(path: Path) -> dict[str, str]:
    """A file or folder by its path, relative if it is below the working directory, and its content.

    With that the record of a folder that was moved as a whole is still right.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100, a link stays the name it was given by
    below = absolute.is_relative_to(Path.cwd())
    return {"path": str(absolute.relative_to(Path.cwd()) if below else absolute), "sha256": checksum(path)}


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes; of a folder, over the names and checksums of its files, but hidden ones."""
    if not path.is_dir():
        return sha256(path)
    names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    lines = "".join(f"{sha256(path / name)} {name}\n" for name in shown)
    return hashlib.sha256(lines.encode()).hexdigest()


def run_key(module: str, settings: Settings, inputs: dict[str, list[Path]], arguments: dict | None) -> str:
    """SHA-256 of all that a training follows from: settings, inputs' content, code, environment."""
    content = {name: [checksum(path) for path in paths] for name, paths in inputs.items()}
    shown = settings.model_dump(mode="json", exclude=set(settings.only_refuse))
    told = [shown, arguments or {}, content, code_checksum(module), environment(OF_TRAINING)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def code_checksum(module: str, loaded: Collection[str] = sys.modules) -> str:
    """`cca.records.codebase.digest` of a stage's module and all of ``cca`` loaded for it, plug-ins too.

    Of a module it is the code at the first time that this process asked.
    """
    ours = {name for name in loaded if name.startswith("cca.") and not f"{name}.".startswith(COMMAND_LINE)}
    return digest(module, *ours)


def code_version(module: str, loaded: Collection[str] = sys.modules) -> dict:
    """Version of this package, the checksum of a stage's code and, in a git checkout, its commit.

    The checksum is its `code_checksum`. ``dirty`` says that files which results depend on differ
    from the commit, or that some of the package are unknown to git.
    """
    here = Path(cca.__file__).parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(here), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    version: dict[str, Any] = {"version": cca.__version__, "sha256": code_checksum(module, loaded)}
    if git("ls-files", "--error-unmatch", "__init__.py"):
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *RESULTS_DEPEND_ON)
        unknown = git("ls-files", "--others", "--exclude-standard", ".")
        version |= {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed or unknown)}
    return version
