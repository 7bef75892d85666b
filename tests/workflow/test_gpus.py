"""A run on this machine whose jobs ask for GPUs that it lacks is refused before the first of them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess]
ASKED = ("resources={default: {gpus: 1}, finetune: {gpus: 8}}",)


def test_a_run_is_refused_where_torch_sees_no_gpu_and_planned(
    tmp_path: Path, snakemake: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    target = "results/smoke/tokenizers/vq/tokenizer.safetensors"
    assert snakemake(tmp_path, "-n", target, config=ASKED).returncode == 0
    refused = snakemake(tmp_path, target, config=ASKED)
    assert refused.returncode == 1
    assert "error: rule 'perceptual' asks for gpus: 1, and torch sees 0 here: " in refused.stderr
    assert "--config 'resources={default: {gpus: 0}, finetune: {gpus: 0}}'" in refused.stderr
    assert not (tmp_path / "results").exists()


def test_jobs_that_ask_for_none_run(tmp_path: Path, snakemake: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    images = "results/smoke/data/images.npz"
    run = snakemake(tmp_path, images, config=ASKED)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / images).is_file()
