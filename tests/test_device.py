"""What is fixed so that results repeat."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from threadpoolctl import threadpool_info
from torch import nn

from cca.device import make_deterministic, shapes_only

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def global_settings() -> Iterator[None]:
    """Torch's global settings are put back."""
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark


def test_threads_and_algorithms_are_fixed() -> None:
    torch.backends.cudnn.benchmark = True
    make_deterministic(2)
    assert torch.get_num_threads() == 2
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}
    make_deterministic(1)
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


def test_cublas_has_a_fixed_workspace_unless_the_user_chose_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back afterwards
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    make_deterministic(1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    make_deterministic(1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_shapes_alone_take_no_memory() -> None:
    with shapes_only():
        network = nn.Sequential(nn.Embedding(10, 3), nn.Linear(3, 2))
    assert {tuple(weight.shape) for weight in network.parameters()} == {(10, 3), (2, 3), (2,)}
    assert all(weight.is_meta for weight in network.parameters())
    assert nn.Embedding(10, 3).weight.std() > 0.5


def test_sizes_of_every_tier_are_checked_without_torchs_compiler() -> None:
    """It takes 3 seconds to import, of every start of Snakemake."""
    tiers = ("smoke", "mini", "cifar10", "paper")
    code = f"""
        import sys
        from pathlib import Path
        from cca.config import load_tier
        for tier in {tiers}:
            load_tier(tier, Path({str(REPOSITORY / "workflow/config")!r}))
        print("torch._dynamo" in sys.modules)
    """
    run = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr
