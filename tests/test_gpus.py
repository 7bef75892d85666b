"""GPUs that are asked for and are not there: one line that says so, before anything is computed."""

import os
import threading
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import torch

from cca import cli
from cca import gpus as module
from cca.errors import CCAError
from cca.gpus import check_job, check_run, free, occupy, wanted
from cca.records.provenance import exclusive
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


def test_what_a_job_asks_for_is_said_in_one_of_three_ways() -> None:
    assert [wanted(device) for device in ("auto", "gpu", "gpu:1", "gpu:12")] == [0, 1, 1, 12]
    for device in ("gpu:0", "gpu:", "cuda", "gpu:1x"):
        with pytest.raises(CCAError, match=f"^--device {device}: give auto, gpu, or gpu:N for N of them$"):
            wanted(device)


class Sleep:
    """In place of the time between two looks for free GPUs: jobs sleep until a test wakes them."""

    def __init__(self) -> None:
        self.asleep, self.woken = threading.Semaphore(0), threading.Semaphore(0)

    def sleep(self, seconds: float) -> None:
        self.asleep.release()
        self.woken.acquire()

    def wake(self) -> None:
        """Let one of them look again."""
        self.woken.release()

    def begun(self, job: threading.Thread) -> bool:
        """Whether a job sleeps now; it ends, if not. Each sleep is told once."""
        deadline = time.monotonic() + 60
        while job.is_alive():
            if self.asleep.acquire(timeout=0.01):
                return True
            assert time.monotonic() < deadline
        return False


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Sleep:
    sleep = Sleep()
    monkeypatch.setattr(module, "time", sleep)
    return sleep


def test_gpus_are_held_by_one_job_and_who_waits_for_several_is_not_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleep: Sleep
) -> None:
    names = ["0", "GPU-5/1"]
    found: dict[str, list[str]] = {}
    kept: dict[str, ExitStack] = {}
    queued = threading.Semaphore(0)

    def noted(path: Path, wait: bool = False) -> AbstractContextManager[None]:
        if wait:
            queued.release()
        return exclusive(path, wait)

    def job(name: str, count: int) -> threading.Thread:
        def take() -> None:
            found[name], kept[name] = free(names, count, tmp_path, "here")

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        assert queued.acquire(timeout=60)
        return thread

    monkeypatch.setattr(module, "exclusive", noted)
    first, held = free(names, 1, tmp_path, "here")
    assert first == ["0"] and queued.acquire(timeout=60)
    both = job("both", 2)
    assert sleep.begun(both)
    one = job("one", 1)  # although a GPU is free
    sleep.wake()
    assert sleep.begun(both)
    assert one.is_alive() and not found
    held.close()
    sleep.wake()
    both.join(60)
    assert found == {"both": names}
    assert sleep.begun(one)  # its next look is later than both are let go
    kept["both"].close()
    sleep.wake()
    one.join(60)
    assert found["one"] == names[:1]


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleep: Sleep) -> list[int]:
    """What became torch's current device, one after the other; no GPU is taken yet, and no SLURM is there."""
    devices: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_taken", [])
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    return devices


@pytest.mark.parametrize("gpus", [4], indirect=True)
def test_one_gpu_becomes_the_current_one_and_several_are_what_processes_see(
    gpus: int, current: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    occupy("auto")
    assert not current and not any(tmp_path.iterdir())
    with pytest.raises(CCAError, match=r"^--device gpu:5: torch sees 4 here$"):
        occupy("gpu:5")
    occupy("gpu")
    occupy("gpu:1")
    assert current == [0, 1]
    occupy("gpu:2")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6,7"


@pytest.mark.parametrize("gpus", [2], indirect=True)
def test_jobs_wait_for_those_of_their_own_slurm_step(
    gpus: int, current: list[int], monkeypatch: pytest.MonkeyPatch, sleep: Sleep
) -> None:
    """Two steps call other GPUs by the same numbers."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "1")

    def job() -> tuple[threading.Thread, bool]:
        thread = threading.Thread(target=occupy, args=("gpu",), daemon=True)
        thread.start()
        return thread, sleep.begun(thread)

    jobs, waiting = zip(*[job() for _ in range(3)], strict=True)
    assert waiting == (False, False, True)
    for name in ("SLURM_STEP_ID", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "2")
        assert not job()[1]
    assert current == [0, 1, 0, 0]
    module._taken[1].close()
    sleep.wake()
    jobs[2].join(60)
    assert not jobs[2].is_alive() and current[-1] == 1


@pytest.mark.parametrize("gpus", [4], indirect=True)
@pytest.mark.parametrize("device", ["gpu:2", "gpu:8"])
def test_a_slurm_job_for_several_gpus_takes_what_its_site_gave_it(
    gpus: int, device: str, current: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    occupy(device)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5,6,7"
    assert not current
