"""The optimisation loop that every trained part shares: optimiser, schedule, log, checks."""

import math
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.amp import GradScaler
from tqdm import tqdm

from cca.distributed import processes, whole
from cca.errors import CCAError
from cca.files import CsvLog
from cca.settings import Settings
from cca.training.execution import accumulating, is_sharded
from cca.training.progress import (
    EachProcess,
    Progress,
    Sharded,
    Stateful,
    TorchRandom,
    noticing,
    random_state,
    set_random_state,
)

Share = Annotated[float, Field(ge=0, lt=1)]


class Optimisation(Settings):
    """AdamW with gradient clipping; a linear warm-up, then the rate stays or falls to the last step."""

    learning_rate: float = Field(gt=0)
    betas: tuple[Share, Share] = (0.9, 0.95)
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
        self._pool = state["pool"].numpy().copy()
        if self.rng:
            set_random_state(self.rng, state["rng"])


def adamw_groups(
    module: nn.Module, settings: Optimisation, undecayed: Collection[str] = ()
) -> list[dict[str, Any]]:
    """All parameters of a module, by whether they decay; for ``undecayed`` see `optimise`."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        (decayed if parameter.dim() >= 2 and name not in undecayed else plain).append(parameter)
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def adamw(module: nn.Module, settings: Optimisation, undecayed: Collection[str] = ()) -> torch.optim.AdamW:
    """The optimiser of all parameters of a module; for ``undecayed`` see `optimise`."""
    groups = adamw_groups(module, settings, undecayed)
    fused = (
        True if all(parameter.is_cuda for parameter in module.parameters()) else None
    )  # None: torch's choice
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=fused)


def update(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    rate: float,
    clip: float,
    *,
    step: int,
    what: str,
    scaler: GradScaler | None = None,
) -> float:
    """One step of a module along its gradients, clipped together to the norm ``clip``.

    With a ``scaler``, the step is left out where scaled gradients overflowed, and the next scale is smaller.

    Returns:
        The gradients' norm before it was clipped.

    Raises:
        CCAError: it is NaN or infinite, in spite of all scales down to 1.
    """
    if scaler:
        scaler.unscale_(optimizer)
    norm = whole(nn.utils.clip_grad_norm_(module.parameters(), clip)).item()
    for group in optimizer.param_groups:
        group["lr"] = rate
    if not scaler:
        check_finite(norm, step, f"{what} (gradient)")
        optimizer.step()
        return norm
    scaler.step(optimizer)
    scaler.update()
    if scaler.get_scale() < 1:
        raise CCAError(
            f"{what}: float16 cannot hold the gradients of step {step}, with whatever scale of the loss; "
            "set precision to bf16 or fp32, or lower the learning rate"
        )
    return norm


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
    network: nn.Module | None = None,
    scaler: GradScaler | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Minimise a loss over batches of items, one optimiser step a batch.

    Of several processes each computes its share of every batch; the first one writes the log.

    Args:
        module: its parameters are trained in place; its train/eval mode is left alone.
        batches: arrays of items, usually their indices, the same in all processes; ``steps`` are taken.
        loss_of: maps a batch (or a piece of one) to its loss and to further values to log, each a
            scalar or one number an item, NaN where an item has none; their means are taken.
        what: names the stage on the progress bar and in messages.
        log: the CSV of ``step, learning_rate, loss, gradient_norm`` and the further values.
        micro_batch: items whose gradients a process computes at a time, where memory is short.
        undecayed: names of parameters that weight decay leaves alone, whatever their dimensions.
        after_step: called with the step's number after each update.
        progress: where the state is kept, and read from if a killed run left it there; the end does not
            remove it. With it, SIGTERM takes effect after the step, whose state is then kept.
        further: what belongs to the state beside the module, its optimiser, the `Batches` and torch's
            generators.
        network: what ``loss_of`` calls for the module, made by `cca.training.execution.prepare`; by default
            the module.
        scaler: of losses whose gradients are float16; the log gets its ``loss_scale``.
        optimizer: of the module's parameters; by default `adamw`.

    Raises:
        CCAError: the loss or the gradient became NaN or infinite, or processes cannot share a batch equally.
        StoppedError: SIGTERM, and the state is kept.
    """
    team = processes()
    optimizer = optimizer or adamw(module, settings, undecayed)
    watching = noticing(signal.SIGTERM) if progress else nullcontext()
    with CsvLog(log) if team.first else nullcontext() as rows, watching as told:
        parts = _parts(module, optimizer, batches, scaler) | dict(further or {})
        parts |= {"log": rows} if rows else {}
        done = progress.restore(parts) if progress else 0
        remaining = tqdm(range(done, steps), desc=what, initial=done, total=steps, disable=not team.first)
        for step, batch in zip(remaining, batches, strict=False):
            rate = settings.rate(step, steps)
            optimizer.zero_grad(set_to_none=True)
            share = team.share(batch)
            size = micro_batch or len(share)
            values: dict[str, list[Tensor]] = {}
            for start in range(0, len(share), size):
                piece = share[start : start + size]
                last = start + size >= len(share)
                with nullcontext() if last else accumulating(network or module):
                    loss, more = loss_of(piece)
                    scaled = loss.mean() * (len(piece) / len(share))
                    (scaler.scale(scaled) if scaler else scaled).backward()
                for name, value in {"loss": loss, **more}.items():
                    values.setdefault(name, []).append(value.detach().reshape(-1))
            everywhere = {name: team.gather(torch.cat(pieces)) for name, pieces in values.items()}
            check_finite(everywhere["loss"].sum().item(), step, what)
            norm = update(module, optimizer, rate, settings.clip, step=step, what=what, scaler=scaler)
            after_step(step)
            means = {name: gathered.nanmean().item() for name, gathered in everywhere.items()}
            if scaler:
                means["loss_scale"] = scaler.get_scale()
            if rows:
                rows.write(step=step, learning_rate=rate, gradient_norm=norm, **means)
            if progress:
                progress.keep(parts, step + 1, stop=bool(told and told()))


def _parts(
    module: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable, scaler: GradScaler | None
) -> dict[str, Stateful]:
    """What the state of a training consists of."""
    parts: dict[str, Any] = {"batches": batches, "torch": EachProcess(TorchRandom())}
    if is_sharded(module):
        parts["trained"] = Sharded(module, optimizer)
    else:
        parts |= {"module": module, "optimizer": optimizer}
    return parts | ({"scaler": scaler} if scaler else {})
