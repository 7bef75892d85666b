"""Training that goes on where a killed run stopped: its whole state, kept in a file beside the output."""

import json
import pickle
import signal
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from cca.distributed import processes
from cca.errors import StoppedError
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
        """The CPU's and that of the GPU in use."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state: dict) -> None:
        """Set them."""
        torch.set_rng_state(state["cpu"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"])


class EachProcess:
    """A part of a training of which every process has its own, such as random numbers."""

    def __init__(self, own: Stateful):
        self.own = own

    def state_dict(self) -> dict:
        """The states of all processes."""
        return {"each": processes().gather_objects(self.own.state_dict())}

    def load_state_dict(self, state: dict) -> None:
        """Each process takes its own."""
        self.own.load_state_dict(state["each"][processes().rank])


class Sharded:
    """Weights of a sharded model and their optimiser, as a part of a training: whole, as of one process."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict:
        """Gathered in the first process's memory; empty in the others."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        model, optimizer = get_state_dict(self.model, self.optimizer, options=options)
        return {"model": model, "optimizer": optimizer}

    def load_state_dict(self, state: dict) -> None:
        """Every process takes its shards of what the first one is given, tensor by tensor."""
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            set_model_state_dict,
            set_optimizer_state_dict,
        )

        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        given = state if processes().first else {"model": {}, "optimizer": {}}
        set_model_state_dict(self.model, given["model"], options=options)
        set_optimizer_state_dict(self.model, self.optimizer, given["optimizer"], options=options)


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


@contextmanager
def noticing(number: signal.Signals) -> Iterator[Callable[[], bool]]:
    """A block in which a signal does nothing but that a function, which is yielded, says so."""
    noticed: list[int] = []
    before = signal.signal(number, lambda number, frame: noticed.append(number))
    try:
        yield lambda: bool(noticed)
    finally:
        signal.signal(number, before)


class Progress:
    """A file that holds the state of a training, written anew every so many seconds.

    Several processes write one state, which the same number of them goes on from; all see the file.

    Args:
        path: the file. It is loaded by torch's restricted unpickler, which runs no code.
        every: seconds between two writings.
        key: tells what the training depends on; a file of another key is not resumed from but put aside.
    """

    def __init__(self, path: Path, every: float, key: Callable[[], str]):
        self.path, self.every, self._key_of = path, every, key
        self.record: dict[str, float] = {}
        """Of a run that went on from a file: its first step, and the seconds spent before."""

    def restore(self, parts: Mapping[str, Stateful]) -> int:
        """Give the parts of a training the states in the file, if there is one: the number of steps done."""
        team = processes()
        self._begun = self._written = monotonic()
        kept: dict = {}
        if team.first:
            self._key, kept = [self._key_of(), team.count], self._read()
            if not isinstance(kept, dict) or kept.get("key") != self._key:
                if kept:
                    self._put_aside()
                else:  # none, or a damaged one
                    self.path.unlink(missing_ok=True)
                kept = {}
        if not team.any(bool(kept))[0]:
            return 0
        kept = kept or self._mapped()
        for name, part in parts.items():
            part.load_state_dict(kept["parts"][name])
        self._begun -= kept["seconds"]
        self.record = {"resumed_at_step": kept["done"], "seconds_before": round(kept["seconds"], 2)}
        return kept["done"]

    def _put_aside(self) -> None:
        """Of a large model a state is worth days: who finds that the wrong command was given has it still."""
        names = (self.path.with_suffix(f".other{number}.pt") for number in count(1))
        aside = next(path for path in names if not path.exists())
        self.path.replace(aside)
        differs = "other settings, inputs, code, packages, kind of device or number of processes"
        back = "name it as before and run that command again to go on from it, or delete it"
        print(f"{self.path}: kept by {differs}; put aside as {aside.name}: {back}", file=sys.stderr)

    def _read(self) -> Any:
        try:
            check_intact(self.path)
            return self._mapped()
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
            return {}

    def _mapped(self) -> Any:
        """What is in the file; of its tensors only what is looked at is read, and who keeps one copies it."""
        return torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)

    def keep(self, parts: Mapping[str, Stateful], done: int, stop: bool = False) -> None:
        """Write the states after ``done`` steps, if it is time.

        Raises:
            StoppedError: they are written because a process was told to ``stop``.
        """
        team = processes()
        due, stop = team.any(team.first and monotonic() - self._written >= self.every, stop)
        if not (due or stop):
            return
        states = {name: part.state_dict() for name, part in parts.items()}
        if team.first:
            state = {"key": self._key, "done": done, "seconds": monotonic() - self._begun, "parts": states}
            with atomic(self.path) as temporary, temporary.open("wb") as stream:
                torch.save(state, stream)
        self._written = monotonic()
        if stop:
            team.any(False)  # nobody leaves before it is written
            raise StoppedError(f"terminated after step {done - 1}; run the same command again to go on")

    def remove(self) -> None:
        """Remove the file after what was trained is written; those put aside stay."""
        self.path.unlink(missing_ok=True)
