"""The processes that train one model together: which part of a batch is whose, what they tell each other.

torchrun starts them, `cca.training.launch` through it; accelerate joins them. A stage that was started
otherwise is one process, for which all of this is nothing.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from cca.device import pick
from cca.errors import CCAError

PATIENCE = timedelta(hours=1)
"""How long processes wait for each other; the first one may be writing a large state."""


@dataclass(frozen=True)
class Processes:
    """This process among all: its number, from 0, and how many there are."""

    rank: int = 0
    count: int = 1
    joined: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the one that reports and writes."""
        return self.rank == 0

    @property
    def key(self) -> tuple[int, ...]:
        """What sets this process's random numbers apart: nothing for the first, so that one is as ever."""
        return () if self.first else (self.rank,)

    def share(self, batch: np.ndarray) -> np.ndarray:
        """This process's part of a batch, one of equal parts in the order of the processes.

        Raises:
            CCAError: there are no equal parts.
        """
        if len(batch) % self.count:
            raise CCAError(
                f"a batch of {len(batch)} does not divide among {self.count} processes; change --processes"
            )
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def gather(self, values: Tensor) -> Tensor:
        """Numbers (n,) of every process, in their order: (n count,)."""
        if self.count == 1:
            return values
        gathered = [torch.empty_like(values) for _ in range(self.count)]
        dist.all_gather(gathered, values.contiguous())
        return torch.cat(gathered)

    def gather_objects(self, value: object) -> list:
        """Plain values of every process, in their order."""
        if self.count == 1:
            return [value]
        gathered: list = [None] * self.count
        dist.all_gather_object(gathered, value)
        return gathered

    def any(self, *flags: bool) -> list[bool]:
        """Whether any process says so, flag by flag."""
        if self.count == 1:
            return list(flags)
        said = torch.tensor(flags, dtype=torch.int32, device=pick())
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return [bool(flag) for flag in said.tolist()]


@cache
def processes() -> Processes:
    """Those of this run, joined at the first call, where each makes a GPU of its own the current device."""
    if not dist.is_torchelastic_launched():
        return Processes()
    from accelerate import PartialState  # a second that a single process saves

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    return Processes(state.process_index, state.num_processes, joined=True)


def leave() -> None:
    """Part from the other processes, after the work is done."""
    if processes().joined:
        dist.destroy_process_group()
        processes.cache_clear()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded over the processes, which then must ask together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
