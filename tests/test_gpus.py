"""GPUs that are asked for and are not there: one line that says so, before anything is computed."""

import pytest
import torch

from cca import cli
from cca.errors import CCAError
from cca.gpus import check_job, check_run
from cca.resources import Resources

PAPER = {"default": Resources(gpus=1), "finetune": Resources(gpus=8)}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """As many as torch is to see."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    return request.param


@pytest.mark.parametrize("gpus", [0, 1], indirect=True)
def test_a_job_for_a_gpu_runs_on_nothing_else(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_job("auto")
    if gpus:
        check_job("gpu")
        return
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(
        CCAError, match=r"^--device gpu: torch .* sees no GPU on .* \(CUDA_VISIBLE_DEVICES: 3\)"
    ):
        check_job("gpu")


@pytest.mark.parametrize("gpus", [0], indirect=True)
def test_every_command_can_be_told_so(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["evaluate", "a.npz", "b.npz", "--out", "c.json"], ["finetune", "--processes", "8"]):
        monkeypatch.setattr("sys.argv", ["cca", "--threads", "1", "--device", "gpu", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert str(stop.value.code).startswith("error: --device gpu: torch ")


@pytest.mark.parametrize("gpus", [0, 1, 8], indirect=True)
def test_a_run_here_asks_for_no_more_than_is_here(gpus: int) -> None:
    check_run(PAPER, {})
    check_run(PAPER, {"finetune": gpus})
    if gpus == 8:
        check_run(PAPER, {"sample": 1, "finetune": 8})
        return
    fewer = {0: "{default: {gpus: 0}, finetune: {gpus: 0}}", 1: "{finetune: {gpus: 1}}"}[gpus]
    with pytest.raises(CCAError) as error:
        check_run(PAPER, {"sample": gpus, "finetune": 8})
    assert str(error.value).startswith(f"rule 'finetune' asks for gpus: 8, and torch sees {gpus} here: ")
    assert str(error.value).endswith(f"--config 'resources={fewer}'")
