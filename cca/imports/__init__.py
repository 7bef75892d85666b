"""Official checkpoints: the state dict found by content, whatever wraps it, and held against our module.

A module of this package is named after a family of models or a kind of tokenizers, whose weights have the
official names here too. It says in which else official files differ:

- ``optional(module)``: shapes by name of tensors that official files may hold and our modules do not;
- ``constants(module)``: tensors by name that follow from the sizes, equal in a file or missing there;
- ``looks_like(shapes)``: what a state dict of these shapes is, e.g. "VAR-d16", or None for another family's.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from cca import plugins
from cca.checkpoints import differences, read_torch, shapes
from cca.errors import CCAError

State = dict[str, Tensor]

WRAPPINGS = ("model", "module", "state_dict", "ema", "trainer")
"""Keys under which official scripts save weights; of two that fit equally, the earlier."""

SHOWN = 3
"""How many differences a message names."""


def read(path: Path, family: str, module: nn.Module) -> State:
    """The weights of an official file for ``module``, which may be on the meta device: strictly all of them.

    Tensors are mapped from the file where they are float32 already.

    Raises:
        CCAError: a damaged file, one without weights, or weights of another family or other sizes: the
            message says which keys and shapes differ, and what the file looks like.
    """
    official = plugins.load("cca.imports", family)
    wanted = shapes(module.state_dict())
    found = list(states(read_torch(path)))
    if not found:
        raise CCAError(f"{path}: no weights in it; give the file that its authors publish")
    state = max(found, key=lambda state: len(wanted.keys() & state.keys()))
    constants, optional = official.constants(module), official.optional(module)
    problems = differences(
        wanted | {name: shape for name, shape in optional.items() if name in state},
        shapes(constants) | shapes(state),
    )
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CCAError(
            f"{path}: it {describe(state)}, and differs from the {family} wanted in {len(problems)} "
            f"keys: {'; '.join(problems[:SHOWN])}{more}"
        )
    for name, constant in constants.items():
        if not torch.equal(state.get(name, constant).to(constant.dtype), constant):
            raise CCAError(f"{path}: '{name}' holds other numbers than those that the {family}'s sizes give")
    weights = {name: constants.get(name, state.get(name)) for name in wanted}
    return {
        name: checked(tensor, name, path) for name, tensor in weights.items() if name not in constants
    } | constants


def states(content: object) -> Iterator[State]:
    """Every dict of tensors in the content of a file, those of `WRAPPINGS` first."""
    if not isinstance(content, dict):
        return
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors and all(isinstance(name, str) for name in tensors):
        yield {re.sub(r"^(module\.|_orig_mod\.)+", "", name): tensor for name, tensor in tensors.items()}
    order = {name: place for place, name in enumerate(WRAPPINGS)}
    for _, value in sorted(content.items(), key=lambda item: order.get(item[0], len(order))):
        yield from states(value)


def describe(state: State) -> str:
    """What a state dict looks like, by the first family that knows it."""
    for name in plugins.names("cca.imports"):
        if known := plugins.load("cca.imports", name).looks_like(shapes(state)):
            return f"looks like {known}"
    first = ", ".join(f"'{name}'" for name in list(state)[:SHOWN])
    return f"looks like no official checkpoint (its first keys are {first})"


def checked(tensor: Tensor, name: str, path: Path) -> Tensor:
    """A floating tensor in float32, with numbers that are finite, or a `CCAError`."""
    if not tensor.is_floating_point():
        return tensor
    if not tensor.isfinite().all():
        raise CCAError(f"{path}: '{name}' holds numbers that are not finite; fetch the file again")
    return tensor.float()


def count(shapes: dict[str, tuple[int, ...]], pattern: str) -> int:
    """How many different numbers the names show where ``pattern`` has its group."""
    return len({match[1] for name in shapes if (match := re.match(pattern, name))})
