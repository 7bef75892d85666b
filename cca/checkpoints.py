"""Checkpoints: safetensors files that say how to build the module they belong to."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cca import models, tokenizers
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
    try:
        with safe_open(require(path), framework="pt") as archive:
            metadata = (archive.metadata() or {}).get("cca")
            state = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CCAError(
            f"{path}: damaged or not a checkpoint ({reason}); delete it and make it again"
        ) from None
    if metadata is None:
        raise CCAError(
            f"{path}: no description of the module in the file's header; not written by this project"
        )
    return state, json.loads(metadata)


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


def _described(metadata: dict, path: Path, *keys: str) -> list:
    if missing := [key for key in keys if key not in metadata]:
        raise CCAError(f"{path}: a checkpoint of something else: its header has no '{missing[0]}'")
    return [metadata[key] for key in keys]


def load_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a checkpoint, in eval mode."""
    state, metadata = read(path)
    tokenizer = tokenizers.build(*_described(metadata, path, "kind", "architecture"))
    fill(tokenizer, state, path)
    return tokenizer.eval()


def save_tokenizer(path: Path, tokenizer: tokenizers.Tokenizer, kind: str, architecture: dict) -> None:
    """Write a tokenizer so that `load_tokenizer` can build it."""
    save(path, tokenizer, {"kind": kind, "architecture": architecture})


def load_model(path: Path, tokenizer: tokenizers.Tokenizer) -> models.ARModel:
    """The autoregressive model of a checkpoint over the codes of ``tokenizer``, in eval mode."""
    state, metadata = read(path)
    family, architecture, num_classes = _described(metadata, path, "family", "architecture", "num_classes")
    model = models.build(family, architecture, tokenizer, num_classes)
    fill(model, state, path)
    return model.eval()


def save_model(path: Path, model: models.ARModel, family: str, architecture: dict) -> None:
    """Write a model so that `load_model` can build it."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    metadata = {"family": family, "architecture": architecture, "num_classes": model.num_classes}
    save(path, model, {**metadata, "parameters": parameters})
