"""Where tensors live and in which precision products are computed: precision follows the device."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from threadpoolctl import threadpool_limits


def pick() -> torch.device:
    """The GPU if torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 products on a GPU; float32 on a CPU, where bfloat16 is hundreds of times slower."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


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
