"""Two processes train as one does, in whatever way; and what they cannot do is said in one line."""

import csv
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.launcher.api import elastic_launch

from cca import models, tokenizers
from cca.distributed import Processes
from cca.errors import CCAError
from cca.stages import pairs, score
from cca.training import launch

from . import distributed_runs
from .conftest import MODEL, World

FINETUNED = ["replicated", "accumulated", "sharded", "sharded_resumed"]
ROUNDING = {"rel": 2e-5, "abs": 2e-5}
"""Of logs of six digits. Largest difference seen, with three instruction sets: one in the last digit, 4e-6.
What is near 0 is a difference of sums of about 64, which float32 rounds to 8e-6."""


def prepared(world: World, folder: Path) -> Path:
    """Inputs of the runs, in one folder; the model has dropout."""
    shutil.copy(world.tokenizer, folder / "tokenizer.safetensors")
    shutil.copy(world.codes, folder / "codes.npz")
    shutil.copytree(world.codes.parent / "codes", folder / "codes")
    tokenizer = tokenizers.load(world.tokenizer)
    model = models.load(world.model, tokenizer)
    models.save(folder / "base.safetensors", model, tokenizer, "llamagen", MODEL | {"dropout": 0.1})
    made = {"codes": folder / "codes.npz", "pairs": folder / "pairs.npz"}
    pairs.run(pairs.PairsSettings(visits=2, mask_rate=0.2), codes=made["codes"], out=made["pairs"], seed=0)
    made |= {"base": folder / "base.safetensors", "tokenizer": folder / "tokenizer.safetensors"}
    for name, settings in distributed_runs.SCORES.items():
        score.run(score.ScoreSettings(**settings), **made, out=folder / f"{name}.npz", seed=0)
    return folder


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes left everything that `distributed_runs` does, once."""
    folder = prepared(world, tmp_path_factory.mktemp("runs"))
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        elastic_launch(launch.config(2, 1, {}), sys.executable)(distributed_runs.__file__, str(folder))
    return folder


@pytest.fixture(scope="module")
def alone(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what one process makes of the same."""
    folder = prepared(world, tmp_path_factory.mktemp("alone"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        distributed_runs.finetuning(folder, "finetuned")
        distributed_runs.finetuning(folder, "dropout", dropout=True, micro_batch=distributed_runs.BATCH // 2)
        distributed_runs.finetuning(folder, "sharded_dropout", dropout=True, micro_batch=4)
        distributed_runs.pretraining(folder, "pretrained")
    return folder


def log(path: Path) -> list[dict[str, float]]:
    rows = csv.DictReader(path.with_suffix(".log.csv").open())
    return [{key: float(value) for key, value in row.items()} for row in rows]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_gpu_trains_sharded_as_it_does_alone(world: World, tmp_path: Path) -> None:
    """In bf16, but where float16 is asked for; all that two processes do, in one."""
    folder = prepared(world, tmp_path)
    distributed_runs.finetuning(folder, "finetuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        elastic_launch(launch.config(1, 1, {}), sys.executable)(distributed_runs.__file__, str(folder))
    for name in (*FINETUNED, "replicated_fp16", "sharded_fp16"):
        for row, expected in zip(log(folder / f"{name}.x"), log(folder / "finetuned.x"), strict=True):
            assert row["loss"] == pytest.approx(expected["loss"], rel=0.02)
    whole, again = (folder / f"{name}.safetensors" for name in ("dropout", "dropout_resumed"))
    assert whole.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("name", FINETUNED)
def test_two_processes_finetune_as_one(runs: Path, alone: Path, name: str) -> None:
    ours, theirs = log(runs / f"{name}.x"), log(alone / "finetuned.x")
    assert len(ours) == len(theirs) == 5
    for row, expected in zip(ours, theirs, strict=True):
        assert row == pytest.approx(expected, **ROUNDING)
    weights, expected = (
        load_file(folder) for folder in (runs / f"{name}.safetensors", alone / "finetuned.safetensors")
    )
    base = load_file(alone / "base.safetensors")
    for key, value in expected.items():
        moved = (value - base[key]).norm()
        assert (weights[key] - value).norm() <= 2e-5 * moved  # largest difference seen: 2.2e-6


@pytest.mark.parametrize("name", ["pretrained", "pretrained_sharded"])
def test_two_processes_pretrain_as_one(runs: Path, alone: Path, name: str) -> None:
    for row, expected in zip(log(runs / f"{name}.x"), log(alone / "pretrained.x"), strict=True):
        assert row == pytest.approx(expected, **ROUNDING)


@pytest.mark.parametrize("name", ["dropout", "sharded_dropout"])
def test_two_processes_drop_what_one_drops(runs: Path, alone: Path, name: str) -> None:
    """One micro-batch has the same masks in whichever process it is; those of another size have others."""
    others = [log(alone / f"{kind}.x")[-1]["loss"] for kind in ("dropout", "sharded_dropout")]
    assert others[0] != pytest.approx(others[1], rel=1e-3)
    for row, expected in zip(log(runs / f"{name}.x"), log(alone / f"{name}.x"), strict=True):
        assert row == pytest.approx(expected, **ROUNDING)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits_in_two_processes(runs: Path) -> None:
    for suffix in (".safetensors", ".log.csv"):
        whole, again = ((runs / name).with_suffix(suffix) for name in ("dropout.x", "dropout_resumed.x"))
        assert whole.read_bytes() == again.read_bytes()


def test_float16_in_two_processes_scales_the_loss_as_float32_needs_not(runs: Path) -> None:
    for name in ("replicated_fp16", "sharded_fp16"):
        for row, expected in zip(log(runs / f"{name}.x"), log(runs / "replicated.x"), strict=True):
            assert row.pop("loss_scale") == 2**11
            assert row["loss"] == pytest.approx(expected["loss"], rel=1e-3)  # largest difference seen: 1e-4


@pytest.mark.parametrize("name", ["replicated_overflow", "sharded_overflow"])
def test_a_step_that_overflows_in_one_process_is_left_out_by_all(runs: Path, name: str) -> None:
    """`distributed_runs.overflowing` asserts so in each; the first, where nothing overflowed, has the log."""
    assert [row["loss_scale"] for row in log(runs / f"{name}.x")] == [2**11] * 2 + [2**10] * 3


def test_a_batch_that_does_not_divide_among_processes_is_refused() -> None:
    with pytest.raises(CCAError, match="a batch of 16 does not divide among 3 processes; change --processes"):
        Processes(rank=1, count=3).share(np.arange(16))
    shares = [Processes(rank=rank, count=4).share(np.arange(16)) for rank in range(4)]
    assert np.concatenate(shares).tolist() == list(range(16))
