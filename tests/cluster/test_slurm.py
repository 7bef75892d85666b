"""The workflow on a real SLURM: what is submitted, what fails, what is gone on with."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import yaml

from .conftest import PROFILE, Run, jobs

MODEL = Path("results/smoke/llamagen-s")
FINETUNED = MODEL / "sft/seed=0/model.safetensors"
UNLEARNED = MODEL / "unlearn_lambda=0.1/seed=0/model.safetensors"
PRETRAINED = MODEL / "base/model.safetensors"
LONGER = "models={llamagen-s: {pairs: {visits: 40}}}"
"""Finetuning of 160 steps, seconds, so that a job can be cancelled in its middle."""
SECONDS_TO_TRAINING = 600

Scenario = Callable[[Path], list[Run]]
Ended = Callable[[Scenario], list[Run]]
SCENARIOS: list[Scenario] = []


def scenario(runs: Scenario) -> Scenario:
    """Have ``runs`` begun with all the others, since a cluster's jobs mostly wait: see `ended`."""
    SCENARIOS.append(runs)
    return runs


@pytest.fixture(scope="module")
def table2(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> Run:
    """The run by which the cluster made table 2 from nothing."""
    run = Run(tmp_path_factory.mktemp("table2"), "results/table2.csv", config=(LONGER,))
    assert run.wait() == 0, run.printed[-3000:]
    assert [job.number for job in jobs()] == sorted(run.submitted)
    return run


@pytest.fixture(scope="module")
def ended(table2: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """A scenario's runs, ended. All scenarios are begun at once, each in a copy of table 2's folder."""
    copies = tmp_path_factory.mktemp("scenarios")
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        begun = {
            runs: pool.submit(runs, shutil.copytree(table2.folder, copies / runs.__name__))
            for runs in SCENARIOS
        }
        yield lambda runs: begun[runs].result()


def test_table_2_is_made_by_jobs_of_the_cluster(table2: Run) -> None:
    measured = pd.read_csv(table2.folder / "results/table2.csv").query("source == 'measured'")
    assert len(measured) == 3 and (measured["fid"] > 0).all()
    assert {job.state for job in table2.jobs} == {"COMPLETED"}
    total = int(re.search(r"total +(\d+)", table2.printed)[1])
    assert len(table2.jobs) == total - 1  # to publish a table is no job of the cluster
    stages = {"data", "features", "perceptual", "tokenizer", "codes", "pretrain", "finetune", "sample"}
    assert stages | {"evaluate", "table"} <= {job.rule for job in table2.jobs}


def site(folder: Path, **rules: dict) -> Path:
    """A site's copy of the profile, changed where its comments say."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(profile | {"set-resources": rules}))
    return folder


@scenario
def asked_by_tier_and_site(folder: Path) -> list[Run]:
    profile = site(
        folder / "site",
        finetune={"gres": "gpu:a100:2", "mem_mb": "4100 * attempt", "slurm_partition": "main"},
        sample={"device": "auto"},  # this cluster's GPUs are made up
    )
    default = "{mem_mb: 4200, runtime: 7, partition: second, constraint: quick}"
    tier = f"resources={{default: {default}, sample: {{gpus: 1}}}}"
    metrics = MODEL / "sft/seed=0/s=0/metrics.json"
    run = Run(folder, str(FINETUNED), str(metrics), config=(LONGER, tier), profile=profile)
    assert run.wait() == 0, run.printed[-3000:]
    assert all((folder / file).stat().st_size for file in (FINETUNED, metrics))
    return [run]


def test_stages_are_jobs_with_what_tier_and_site_ask_for(ended: Ended) -> None:
    (run,) = ended(asked_by_tier_and_site)
    assert [(job.rule, job.state) for job in run.jobs] == [
        ("finetune", "COMPLETED"),
        ("sample", "COMPLETED"),
        ("evaluate", "COMPLETED"),
    ]
    asked = {job.rule: (job.generic, job.memory, job.minutes, job.partition) for job in run.jobs}
    assert asked["finetune"] == ("gres:gpu:a100:2", "4100M", "7:00", "main")
    assert asked["sample"] == ("gres:gpu:1", "4200M", "7:00", "second")
    assert asked["evaluate"] == ("N/A", "4200M", "7:00", "second")
    assert {job.constraint for job in run.jobs} == {"quick"}


@scenario
def two_nodes(folder: Path) -> list[Run]:
    log = (folder / FINETUNED).with_suffix(".log.csv")
    runs = []
    for nodes, options in ((1, []), (2, ["--forcerun", "finetune"])):
        resources = f"resources={{finetune: {{nodes: {nodes}, gpus: 1}}}}"
        options = [*options, "--set-resources", "finetune:device=auto"]  # GPUs are made up
        run = Run(folder, str(FINETUNED), *options, config=(LONGER, resources))
        assert run.wait() == 0, run.printed[-3000:]
        log.rename(folder / f"{nodes}.csv")
        runs.append(run)
    return runs


def test_a_finetune_on_two_nodes_gives_what_one_node_gave(ended: Ended) -> None:
    """The losses of one process on each of two nodes are those of one, up to the order of sums.

    Largest difference seen, of two processes on one host: 5e-6 of the loss in the first 20 steps.
    """
    runs = ended(two_nodes)
    (alone,), (both,) = (run.jobs for run in runs)
    assert (alone.rule, alone.state, alone.generic) == ("finetune", "COMPLETED", "gres:gpu:1")
    assert alone.nodes in {"n1", "n2"}
    assert (both.rule, both.state, both.nodes, both.generic) == (
        "finetune",
        "COMPLETED",
        "n[1-2]",
        "gres:gpu:1",
    )
    one, two = (pd.read_csv(runs[0].folder / f"{nodes}.csv")["loss"].to_numpy() for nodes in (1, 2))
    assert len(one) == len(two) == 160
    assert two[:20] == pytest.approx(one[:20], rel=1e-4, abs=1e-4)


@scenario
def a_failing_job(folder: Path) -> list[Run]:
    features = "results/smoke/features/classifier.safetensors"
    again = ["--forcerun", "features", "--retries", "0"]
    run = Run(folder, features, *again, config=("classifier={minimum_accuracy: 1}",))
    assert run.wait() != 0
    return [run]


def test_a_failing_job_shows_its_log(ended: Ended) -> None:
    (run,) = ended(a_failing_job)
    assert [(job.rule, job.state) for job in run.jobs] == [("features", "FAILED")]
    assert "is below minimum_accuracy 1.0: train longer, or lower it" in run.printed


@scenario
def a_made_up_gpu(folder: Path) -> list[Run]:
    samples = str(MODEL / "base/seed=0/s=0/samples/1/shard_0.npz")
    again = ["--forcerun", "sample", "--retries", "0"]
    run = Run(folder, samples, *again, config=(LONGER, "resources={sample: {gpus: 1}}"))
    assert run.wait() != 0
    return [run]


def test_a_job_for_a_gpu_fails_on_a_node_where_torch_sees_none(ended: Ended) -> None:
    (run,) = ended(a_made_up_gpu)
    assert [(job.rule, job.generic, job.state) for job in run.jobs] == [("sample", "gres:gpu:1", "FAILED")]
    assert "error: --device gpu:1: torch " in run.printed


@scenario
def too_little_memory(folder: Path) -> list[Run]:
    little = ["--set-resources", "heldout:mem_mb=300 * attempt ** 4"]  # 300, then 4800 MB
    heldout = "results/smoke/data/heldout.npz"
    run = Run(folder, heldout, "--forcerun", "heldout", *little, config=(LONGER,))
    assert run.wait() == 0, run.printed[-3000:]
    return [run]


def test_a_job_over_its_memory_is_submitted_again_with_more(ended: Ended) -> None:
    (run,) = ended(too_little_memory)
    assert [(job.state, job.memory) for job in run.jobs] == [("FAILED", "300M"), ("COMPLETED", "4800M")]


def wait_for_training(run: Run, log: Path, what: str) -> int:
    """The number of the last job, once its training, ``what``, has begun by its log."""
    deadline = time.monotonic() + SECONDS_TO_TRAINING
    while not (log.exists() and f"{what}:" in log.read_text()):
        assert run.running and time.monotonic() < deadline, run.printed[-3000:]
        time.sleep(0.1)
    return run.submitted[-1]


@scenario
def cancelled(folder: Path) -> list[Run]:
    log = folder / "results/smoke/logs/finetune/llamagen-s_unlearn_lambda=0.1_seed=0.log"
    config = (LONGER, "keep_every=3600")  # so that SIGTERM alone has the state kept
    run = Run(folder, str(UNLEARNED), "--retries", "0", config=config)
    subprocess.run(["scancel", str(wait_for_training(run, log, "finetune"))], check=True)
    assert run.wait() != 0
    assert (folder / UNLEARNED).with_suffix(".progress.pt").exists(), log.read_text()
    rerun = Run(folder, str(UNLEARNED), config=config)
    assert rerun.wait() == 0, rerun.printed[-3000:]
    return [run, rerun]


def test_a_cancelled_finetune_is_gone_on_with(ended: Ended) -> None:
    run, rerun = ended(cancelled)
    assert run.jobs[-1].state in {"CANCELLED", "FAILED"}
    assert resumed_at(rerun.folder / UNLEARNED) > 0


@scenario
def over_its_time(folder: Path) -> list[Run]:
    """Its limit is cut down once it has begun; SLURM looks at limits twice a minute."""
    log = folder / "results/smoke/logs/pretrain/llamagen-s.log"
    log.unlink()  # of the training before
    longer = "models={llamagen-s: {pretraining: {steps: 6000}}}"  # more than a minute
    run = Run(folder, str(PRETRAINED), config=(longer, "keep_every=3600"))
    first = wait_for_training(run, log, "pretrain")
    subprocess.run(["scontrol", "update", f"jobid={first}", "timelimit=0:01"], check=True)
    assert run.wait() == 0, run.printed[-3000:]
    return [run]


def test_a_training_over_its_time_is_gone_on_with_by_a_further_job(ended: Ended) -> None:
    (run,) = ended(over_its_time)
    cut_off, last = run.jobs
    assert (cut_off.rule, last.rule) == ("pretrain", "pretrain")
    assert cut_off.state in {"TIMEOUT", "FAILED"} and last.state == "COMPLETED"
    assert resumed_at(run.folder / PRETRAINED) > 0


def resumed_at(model: Path) -> int:
    """The step that the training of ``model`` was resumed at, by its provenance."""
    return json.loads(model.with_suffix(".provenance.json").read_text())["measured"]["resumed_at_step"]
