"""Where tensors live and in which precision products are computed: precision follows the device."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch import nn
from torch.overrides import TorchFunctionMode

Precision = Literal["auto", "fp32", "bf16", "fp16"]
TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick() -> torch.device:
    """The GPU if torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, precision: Precision = "auto") -> AbstractContextManager:
    """Products in ``precision``; "auto" is bf16 on a GPU and fp32 on a CPU.

    On CPUs without instructions for it bf16 is hundreds of times slower.
    """
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    kind = TYPES[precision]
    return torch.autocast(device.type, kind) if kind else nullcontext()


def loss_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler | None:
    """What keeps gradients within float16's range, with the first scale and the interval of VAR's training.

    None in other precisions (VAR, ``utils/amp_sc.py``).
    """
    if precision != "fp16":
        return None
    return torch.amp.GradScaler(device.type, init_scale=2.0**11, growth_interval=1000)


def full_precision(like: torch.Tensor) -> AbstractContextManager:
    """No autocast on the device of ``like``; torch's meta device, on which sizes are planned, has none."""
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Networks that are built here are on torch's meta device: they have shapes, and no memory."""
    with torch.device("meta"), _NumbersLeftOut():
        yield


class _NumbersLeftOut(TorchFunctionMode):
    """Skips what moves no shape but has torch import its compiler on the meta device: 3 seconds."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (nn.init.normal_, torch.Tensor.normal_, F.normalize):
            return args[0] if args else next(iter(given.values()))
        return func(*args, **given)


def make_deterministic(threads: int) -> None:
    """Fix the number of threads, torch's and NumPy's, and ask torch for deterministic algorithms.

    Sums are rounded in an order that depends on the number of threads, so results repeat bit for
    bit only on the same number. cuBLAS repeats only with a workspace of fixed size, a setting that
    it reads when CUDA starts: call this before. On one CPU thread there is no order to ask for, and the
    question alone imports torch's compiler, a second of every job.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    if threads > 1 or torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
