"""What is fixed so that results repeat."""

import os
from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_info
from torch import nn

from cca.device import make_deterministic, shapes_only


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


def test_shapes_alone_take_no_memory_and_draw_no_numbers() -> None:
    before = torch.get_rng_state()
    with shapes_only():
        network = nn.Sequential(nn.Embedding(10, 3), nn.Linear(3, 2))
        nn.init.trunc_normal_(network[1].weight)
    assert {tuple(weight.shape) for weight in network.parameters()} == {(10, 3), (2, 3), (2,)}
    assert all(weight.is_meta for weight in network.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    assert nn.Embedding(10, 3).weight.std() > 0.5
