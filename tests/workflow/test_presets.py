"""Results of one size preset are made anew by another only if that is named."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess]


def test_a_run_whose_preset_the_machine_changed_is_refused(
    tmp_path: Path, snakemake: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    target, presets = "results/smoke/data/images.npz", "presets={cpu: {}, gpu: {}}"
    last = tmp_path / "results/smoke/preset.json"
    last.parent.mkdir(parents=True)
    last.write_text(json.dumps({"preset": "gpu"}))
    assert snakemake(tmp_path, "-n", target, config=(presets,)).returncode == 0
    refused = snakemake(tmp_path, target, config=(presets,))
    assert refused.returncode == 1 and not (tmp_path / target).exists()
    assert (
        "error: results/smoke was last run with preset 'gpu', and this run takes 'cpu': give"
        in refused.stderr
    )
    run = snakemake(tmp_path, target, config=("preset=cpu", presets))
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads(last.read_text()) == {"preset": "cpu"}
