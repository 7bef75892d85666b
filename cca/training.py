"""The optimisation loop that every trained part shares: optimiser, schedule, log, checks."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from cca.errors import CCAError
from cca.files import CsvLog
from cca.progress import Progress, Stateful, TorchRandom, random_state, set_random_state
from cca.settings import Settings


class Optimisation(Settings):
    """AdamW with gradient clipping; a linear warm-up, then the rate stays or falls to the last step."""

    learning_rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.05, ge=0, description="of tensors of two or more dimensions only")
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    warmup_steps: int = Field(default=0, ge=0)
    warmup_from: float = Field(default=0.005, ge=0, le=1, description="first rate, a share of learning_rate")
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    flat: float = Field(
        default=0.05, ge=0, lt=1, description="linear: share of the steps after warm-up before it falls"
    )
    final: float = Field(
        default=0.01, ge=0, le=1, description="cosine, linear: last rate, a share of learning_rate"
    )

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of ``step`` (from 0) of ``steps``; `linear` is VAR's "lin0" (utils/lr_control.py)."""
        if step < self.warmup_steps:
            return self.learning_rate * (self.warmup_from + (1 - self.warmup_from) * step / self.warmup_steps)
        progress = (step - self.warmup_steps) / max(steps - 1 - self.warmup_steps, 1)
        left = {
            "constant": 1.0,
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "linear": min(1.0, (1 - progress) / (1 - self.flat)),
        }[self.schedule]
        return self.learning_rate * (self.final + (1 - self.final) * left)


def check_finite(loss: float, step: int, what: str) -> None:
    """Raise a `CCAError` naming ``what`` and ``step`` if ``loss`` is NaN or infinite."""
    if not math.isfinite(loss):
        raise CCAError(
            f"{what}: the loss is {loss} at step {step}; lower the learning rate or check the data"
        )


class Batches:
    """Arrays of ``batch_size`` indices below ``items`` without end, every item once an epoch.

    Epochs are shuffled, or without ``rng`` all in order. Whoever else draws from ``rng`` is kept with them.
    """

    def __init__(self, items: int, batch_size: int, rng: np.random.Generator | None = None):
        self.items, self.batch_size, self.rng = items, batch_size, rng
        self._pool = np.empty(0, dtype=np.int64)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> np.ndarray:
        while len(self._pool) < self.batch_size:
            epoch = self.rng.permutation(self.items) if self.rng else np.arange(self.items)
            self._pool = np.concatenate([self._pool, epoch])
        batch, self._pool = self._pool[: self.batch_size], self._pool[self.batch_size :]
        return batch

    def state_dict(self) -> dict:
        """What is left of the epoch, and the generator."""
        return {"pool": torch.from_numpy(self._pool), "rng": self.rng and random_state(self.rng)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        self._pool = state["pool"].numpy()
        if self.rng:
            set_random_state(self.rng, state["rng"])


def adamw(module: nn.Module, settings: Optimisation, undecayed: Collection[str] = ()) -> torch.optim.AdamW:
    """The optimiser of all parameters of a module; for ``undecayed`` see `optimise`."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        (decayed if parameter.dim() >= 2 and name not in undecayed else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas)


def update(
    module: nn.Module, optimizer: torch.optim.Optimizer, rate: float, clip: float, *, step: int, what: str
) -> float:
    """One step of a module along its gradients, clipped together to the norm ``clip``.

    Returns:
        The gradients' norm before it was clipped.

    Raises:
        CCAError: it is NaN or infinite.
    """
    norm = nn.utils.clip_grad_norm_(module.parameters(), clip)
    check_finite(norm.item(), step, f"{what} (gradient)")
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return norm.item()


def optimise(
    module: nn.Module,
    batches: Iterable[np.ndarray],
    loss_of: Callable[[np.ndarray], tuple[Tensor, dict[str, Tensor]]],
    settings: Optimisation,
    *,
    steps: int,
    what: str,
    log: Path,
    micro_batch: int | None = None,
    undecayed: Collection[str] = (),
    after_step: Callable[[int], None] = lambda step: None,
    progress: Progress | None = None,
    further: Mapping[str, Stateful] | None = None,
) -> None:
    """Minimise a loss over batches of indices, one optimiser step a batch.

    Args:
        module: its parameters are trained in place; its train/eval mode is left alone.
        batches: arrays of item indices; ``steps`` are taken.
        loss_of: maps a batch (or a piece of one) to its loss and to further values to log, each a
            scalar or one number an item, NaN where an item has none; their means are taken.
        what: names the stage on the progress bar and in messages.
        log: the CSV of ``step, learning_rate, loss, gradient_norm`` and the further values.
        micro_batch: items whose gradients are computed at a time, where a batch needs too much memory.
        undecayed: names of parameters that weight decay leaves alone, whatever their dimensions.
        after_step: called with the step's number after each update.
        progress: where the state is kept, and read from if a killed run left it there; the end does not
            remove it.
        further: what belongs to the state beside the module, its optimiser, the `Batches` and torch's
            generators.

    Raises:
        CCAError: the loss or the gradient became NaN or infinite.
    """
    optimizer = adamw(module, settings, undecayed)
    with CsvLog(log) as rows:
        parts: dict[str, Any] = {"module": module, "optimizer": optimizer, "batches": batches, "log": rows}
        parts |= {"torch": TorchRandom(), **(further or {})}
        done = progress.restore(parts) if progress else 0
        remaining = tqdm(range(done, steps), desc=what, initial=done, total=steps)
        for step, batch in zip(remaining, batches, strict=False):
            rate = settings.rate(step, steps)
            optimizer.zero_grad(set_to_none=True)
            size = micro_batch or len(batch)
            values: dict[str, list[Tensor]] = {}
            for piece in (batch[start : start + size] for start in range(0, len(batch), size)):
                loss, more = loss_of(piece)
                (loss.mean() * (len(piece) / len(batch))).backward()
                for name, value in {"loss": loss, **more}.items():
                    values.setdefault(name, []).append(value.detach().reshape(-1))
            means = {name: torch.cat(pieces).nanmean().item() for name, pieces in values.items()}
            check_finite(sum(piece.sum().item() for piece in values["loss"]), step, what)
            norm = update(module, optimizer, rate, settings.clip, step=step, what=what)
            after_step(step)
            rows.write(step=step, learning_rate=rate, gradient_norm=norm, **means)
            if progress:
                progress.keep(parts, step + 1)
