"""Checkpoints: safetensors files that say how to build the module they belong to, and are not believed."""

import argparse
import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cca.distributed import processes, whole
from cca.errors import CCAError, one_line
from cca.files import require, write_safetensors

M = TypeVar("M", bound=nn.Module)

LARGEST_TABLE = 2**24
"""Most numbers of a buffer that a module may compute from its sizes, where its file holds fewer in all."""


def save(path: Path, module: nn.Module, metadata: dict) -> None:
    """Write a module's state dict with ``metadata`` (plain values) in the file's header.

    Processes that train it together do so together, and the first one writes.
    """
    state = {}
    for name, tensor in module.state_dict().items():
        tensor = whole(tensor.detach())
        if processes().first:
            state[name] = tensor.cpu().contiguous()
    if not processes().first:
        return
    write_safetensors(path, save_file, state, metadata)


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
        raise CCAError(
            f"{path}: damaged or not a safetensors file ({one_line(error)}); make it or get it again"
        ) from None


def _header(archive: safe_open, path: Path) -> dict:
    if (text := (archive.metadata() or {}).get("cca")) is None:
        raise CCAError(
            f"{path}: no description of the module in the file's header; not written by this project"
        )
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise CCAError(f"{path}: damaged: the file's header describes no module; delete it and make it again")
    return header


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


def built(build: Callable[[], M], state: dict[str, Tensor], path: Path) -> M:
    """The module that ``build`` makes as a checkpoint's header describes it, filled with its tensors.

    A header cannot ask for more than its file holds: building stops at the first parameter that is not
    among the tensors, before memory is used for its values; and at the first buffer that is larger than all
    of them and `LARGEST_TABLE`, which a module registers on the meta device before it computes it.

    Raises:
        CCAError: no module can be built so, or one of other tensors.
    """
    try:
        with _no_larger_than(state):
            module = build()
    except CCAError as error:
        raise CCAError(f"{path}: {error}") from None
    except Exception as error:  # whatever sizes without sense lead to
        raise CCAError(f"{path}: its header describes no module ({one_line(error)})") from error
    fill(module, state, path)
    return module


@contextmanager
def _no_larger_than(state: dict[str, Tensor]) -> Iterator[None]:
    """Refuse to build a module of far more parameters than there are tensors, or with one of another shape.

    A parameter may be named anew while a module is built, which counts again. A buffer may be of any shape,
    for not all are saved, but not of more numbers than the tensors and `LARGEST_TABLE`.
    """
    shapes, count = {tuple(tensor.shape) for tensor in state.values()}, 0
    most = max(sum(tensor.numel() for tensor in state.values()), LARGEST_TABLE)

    def look(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += parameter is not None
        if count > 4 * len(state):
            raise CCAError(f"does not fit the model, which has many more than its {len(state)} tensors")
        if parameter is not None and tuple(parameter.shape) not in shapes:
            raise CCAError(
                f"does not fit the model: no tensor has the shape {tuple(parameter.shape)}, as '{name}'"
            )

    def look_at_buffer(module: nn.Module, name: str, buffer: Tensor | None) -> None:
        if buffer is not None and buffer.numel() > most:
            raise CCAError(
                f"does not fit the model: '{name}' has the shape {tuple(buffer.shape)}, more numbers than "
                "the file holds"
            )

    hooks = [
        nn.modules.module.register_module_parameter_registration_hook(look),
        nn.modules.module.register_module_buffer_registration_hook(look_at_buffer),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load ``state`` strictly: same names, same shapes.

    Raises:
        CCAError: names the first missing, unexpected or misshapen key and how many there are.
    """
    problems = differences(shapes(module.state_dict()), shapes(state))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CCAError(f"{path}: does not fit the model: {problems[0]}{more}")
    module.load_state_dict(state)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a state dict."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def differences(wanted: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]) -> list[str]:
    """What keeps tensors of the shapes ``given`` from being those ``wanted``: one clause a key."""
    problems = [f"'{name}' is missing" for name in wanted if name not in given]
    problems += [f"'{name}' is not a key of the model" for name in given if name not in wanted]
    problems += [
        f"'{name}' has shape {given[name]}, not {wanted[name]}"
        for name in wanted
        if name in given and wanted[name] != given[name]
    ]
    return problems


def read_torch(path: Path) -> Any:
    """What a file of ``torch.save`` holds: plain values, and tensors mapped from it. No pickle is executed.

    The restricted unpickler knows a few harmless types and refuses all others. Torch itself compares no
    checksums and unpacks what is compressed to whatever size is written there, so the archive is held
    against its own table of contents before.

    Raises:
        CCAError: missing, damaged, or a file that holds anything else.
    """
    try:
        if mapped := zipfile.is_zipfile(require(path)):
            with zipfile.ZipFile(path) as archive:
                if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                    raise CCAError(f"{path}: compressed, as torch.save never does; load and save it yourself")
                if damaged := archive.testzip():
                    raise CCAError(f"{path}: damaged: the checksum of '{damaged}' is another")
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are refused in one line, below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except CCAError:
        raise
    except Exception as error:  # torch's own words advise to run the pickle
        raise CCAError(f"{path}: {why_unreadable(path, error)}") from error


def why_unreadable(path: Path, error: Exception) -> str:
    """What kept torch from reading a file, and what to do: by the file's beginning, then by the error."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        return "empty; fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS in place of the file; fetch the file itself, as with `git lfs pull`"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, no weights; fetch the file by its own address"
    if isinstance(error, pickle.UnpicklingError):
        return (
            "damaged or not a plain PyTorch state dict (more than tensors and plain values); fetch it again, "
            "or have it saved with its weights alone"
        )
    if start.startswith(b"pk") and not zipfile.is_zipfile(path):  # the table of contents comes last
        return "damaged, as half a download is; fetch it again"
    return f"damaged or not a plain PyTorch state dict ({one_line(error)}); fetch it again"
