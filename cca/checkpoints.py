"""Checkpoints: safetensors files that say how to build the module they belong to."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cca.errors import CCAError
from cca.files import atomic, require


def save(path: Path, module: nn.Module, metadata: dict) -> None:
    """Write a module's state dict with ``metadata`` (plain values) in the file's header."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    with atomic(path) as temporary:
        save_file(state, temporary, metadata={"cca": json.dumps(metadata, sort_keys=True)})


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """State dict and metadata of a checkpoint written by `save`.

    Raises:
        CCAError: missing, truncated or foreign file.
    """
    with _opened(path) as archive:
        return {name: archive.get_tensor(name) for name in archive.keys()}, _header(archive, path)  # noqa: SIM118


def metadata(path: Path) -> dict:
    """Metadata of a checkpoint written by `save`; its tensors are not read.

    Raises:
        CCAError: as `read`.
    """
    with _opened(path) as archive:
        return _header(archive, path)


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(require(path), framework="pt") as archive:
            yield archive
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CCAError(
            f"{path}: damaged or not a checkpoint ({reason}); delete it and make it again"
        ) from None


def _header(archive: safe_open, path: Path) -> dict:
    if (text := (archive.metadata() or {}).get("cca")) is None:
        raise CCAError(
            f"{path}: no description of the module in the file's header; not written by this project"
        )
    return json.loads(text)


def described(metadata: dict, path: Path, *keys: str) -> list:
    """The values of ``keys`` in the metadata of ``path``.

    Raises:
        CCAError: one is missing, because the checkpoint is of something else.
    """
    if missing := [key for key in keys if key not in metadata]:
        raise CCAError(f"{path}: a checkpoint of something else: its header has no '{missing[0]}'")
    return [metadata[key] for key in keys]


def identity(module: nn.Module) -> str:
    """SHA-256 of a module's state: names, types, shapes and values, on whatever device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load ``state`` strictly: same names, same shapes.

    Raises:
        CCAError: names the first missing, unexpected or misshapen key and how many there are.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    problems = [f"'{name}' is missing" for name in wanted if name not in given]
    problems += [f"'{name}' is not a key of the model" for name in given if name not in wanted]
    problems += [
        f"'{name}' has shape {given[name]}, not {wanted[name]}"
        for name in wanted
        if name in given and wanted[name] != given[name]
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CCAError(f"{path}: does not fit the model: {problems[0]}{more}")
    module.load_state_dict(state)
