"""The optimisation loop that every trained part shares: optimiser, schedule, log, checks."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from cca.errors import CCAError
from cca.files import CsvLog
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


def shuffled_batches(
    items: int, batch_size: int, steps: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """``steps`` arrays of ``batch_size`` indices below ``items``, every item once an epoch."""
    pool = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        while len(pool) < batch_size:
            pool = np.concatenate([pool, rng.permutation(items)])
        batch, pool = pool[:batch_size], pool[batch_size:]
        yield batch


def adamw(module: nn.Module, settings: Optimisation, undecayed: Collection[str] = ()) -> torch.optim.AdamW:
    """The optimiser of all parameters of a module; for ``undecayed`` see `optimise`."""
    decayed, plain = [], []
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
) -> None:
    """Minimise a loss over batches of indices, one optimiser step a batch.

    Args:
        module: its parameters are trained in place; its train/eval mode is left alone.
        batches: ``steps`` arrays of item indices.
        loss_of: maps a batch (or a piece of one) to its loss and to further values to log, each a
            scalar or one number an item, NaN where an item has none; their means are taken.
        what: names the stage on the progress bar and in messages.
        log: the CSV of ``step, learning_rate, loss, gradient_norm`` and the further values.
        micro_batch: items whose gradients are computed at a time, where a batch needs too much memory.
        undecayed: names of parameters that weight decay leaves alone, whatever their dimensions.
        after_step: called with the step's number after each update.

    Raises:
        CCAError: the loss or the gradient became NaN or infinite.
    """
    optimizer = adamw(module, settings, undecayed)
    with CsvLog(log) as rows:
        for step, batch in enumerate(tqdm(batches, desc=what, total=steps)):
            rate = settings.rate(step, steps)
            optimizer.zero_grad(set_to_none=True)
            size = micro_batch or len(batch)
            values: dict[str, list[Tensor]] = {}
            for piece in (batch[start : start + size] for start in range(0, len(batch), size)):
                loss, further = loss_of(piece)
                (loss.mean() * (len(piece) / len(batch))).backward()
                for name, value in {"loss": loss, **further}.items():
                    values.setdefault(name, []).append(value.detach().reshape(-1))
            means = {name: torch.cat(pieces).nanmean().item() for name, pieces in values.items()}
            check_finite(sum(piece.sum().item() for piece in values["loss"]), step, what)
            norm = update(module, optimizer, rate, settings.clip, step=step, what=what)
            after_step(step)
            rows.write(step=step, learning_rate=rate, gradient_norm=norm, **means)
