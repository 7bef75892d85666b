"""Training that goes on where a killed run stopped: its whole state, kept in a file beside the output."""

import json
import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np
import torch

from cca.files import atomic


class Stateful(Protocol):
    """A part of a training, as torch's modules and optimisers: all that it is follows from its state."""

    def state_dict(self) -> dict:
        """Tensors and plain values, nested."""

    def load_state_dict(self, state: dict) -> object:
        """Become what `state_dict` was asked of."""


class TorchRandom:
    """Torch's global generators, as a part of a training."""

    def state_dict(self) -> dict:
        """The CPU's and every GPU's."""
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state: dict) -> None:
        """Set them."""
        torch.set_rng_state(state["cpu"])
        torch.cuda.set_rng_state_all(state["cuda"])


def random_state(rng: np.random.Generator) -> str:
    """The state of a generator as text, for `set_random_state`."""
    return json.dumps(rng.bit_generator.state, default=np.ndarray.tolist)


def set_random_state(rng: np.random.Generator, state: str) -> None:
    """Let a generator go on from a `random_state`."""
    rng.bit_generator.state = json.loads(state)


def check_intact(path: Path) -> None:
    """Raise a `ValueError` where a part of a file is not of the checksum that torch wrote and ignores."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from None
    if damaged:
        raise ValueError(f"{damaged} has another checksum")


class Progress:
    """A file that holds the state of a training, written anew every so many seconds.

    Args:
        path: the file. It is loaded by torch's restricted unpickler, which runs no code.
        every: seconds between two writings.
        key: tells what the training depends on; a file of another key is not resumed from but removed.
    """

    def __init__(self, path: Path, every: float, key: Callable[[], str]):
        self.path, self.every, self._key_of = path, every, key
        self.record: dict[str, float] = {}
        """Of a run that went on from a file: its first step, and the seconds spent before."""

    def restore(self, parts: Mapping[str, Stateful]) -> int:
        """Give the parts of a training the states in the file, if there is one: the number of steps done."""
        self._key, self._begun = self._key_of(), monotonic()
        self._written = self._begun
        try:
            check_intact(self.path)
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
            kept = {}
        if not isinstance(kept, dict) or kept.get("key") != self._key:
            self.remove()
            return 0
        for name, part in parts.items():
            part.load_state_dict(kept["parts"][name])
        self._begun -= kept["seconds"]
        self.record = {"resumed_at_step": kept["done"], "seconds_before": round(kept["seconds"], 2)}
        return kept["done"]

    def keep(self, parts: Mapping[str, Stateful], done: int) -> None:
        """Write the states after ``done`` steps, if it is time."""
        if monotonic() - self._written < self.every:
            return
        states = {name: part.state_dict() for name, part in parts.items()}
        state = {"key": self._key, "done": done, "seconds": monotonic() - self._begun, "parts": states}
        with atomic(self.path) as temporary, temporary.open("wb") as stream:
            torch.save(state, stream)
        self._written = monotonic()

    def remove(self) -> None:
        """Remove the file, after what was trained is written."""
        self.path.unlink(missing_ok=True)
