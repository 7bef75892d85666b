"""The workflow on a real SLURM: what is submitted, what fails, what is gone on with."""

import json
import re
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from .conftest import Cluster, Job, Run

REPOSITORY = Path(__file__).parents[2]
MODEL = Path("results/smoke/llamagen-s")
FINETUNED = MODEL / "sft/seed=0/model.safetensors"
LONGER = "models={llamagen-s: {pairs: {visits: 40}}}"
"""Finetuning of 160 steps, seconds, so that a job can be cancelled in its middle."""


@pytest.fixture(scope="module")
def table2(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> tuple[Path, str, list[Job]]:
    """A folder in which the cluster made table 2 from nothing, what Snakemake printed, and the jobs."""
    folder = tmp_path_factory.mktemp("table2")
    status, printed, jobs = cluster.run(folder, "results/table2.csv", config=(LONGER,))
    assert status == 0, printed[-3000:]
    return folder, printed, jobs


@pytest.fixture(scope="module")
def prepared(table2: tuple[Path, str, list[Job]]) -> Path:
    """That folder, in which the inputs of further finetunes are made."""
    return table2[0]


def site(folder: Path, **rules: dict) -> Path:
    """A site's copy of the profile, changed where its comments say."""
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(profile | {"set-resources": rules}))
    return folder


def test_table_2_is_made_by_jobs_of_the_cluster(table2: tuple[Path, str, list[Job]]) -> None:
    folder, printed, jobs = table2
    measured = pd.read_csv(folder / "results/table2.csv").query("source == 'measured'")
    assert len(measured) == 3 and (measured["fid"] > 0).all()
    assert {job.state for job in jobs} == {"COMPLETED"}
    total = int(re.search(r"total +(\d+)", printed)[1])
    assert (
        len(jobs) == printed.count("SLURM jobid ") == total - 1
    )  # to publish a table is no job of the cluster
    stages = {"data", "features", "perceptual", "tokenizer", "codes", "pretrain", "finetune", "sample"}
    assert stages | {"evaluate", "table"} <= {job.rule for job in jobs}


def test_stages_are_jobs_with_what_tier_and_site_ask_for(
    cluster: Cluster, prepared: Path, tmp_path: Path
) -> None:
    profile = site(
        tmp_path / "site",
        finetune={"gres": "gpu:a100:2", "mem_mb": "4100 * attempt", "slurm_partition": "main"},
        sample={"device": "auto"},  # this cluster's GPUs are made up
    )
    wanted = [str(FINETUNED), str(MODEL / "sft/seed=0/s=0/metrics.json")]
    default = "{mem_mb: 4200, runtime: 7, partition: second, constraint: quick}"
    tier = f"resources={{default: {default}, sample: {{gpus: 1}}}}"
    status, printed, jobs = cluster.run(prepared, *wanted, config=(LONGER, tier), profile=profile)
    assert status == 0, printed[-3000:]
    assert all((prepared / file).stat().st_size for file in wanted)
    assert {job.rule: job.state for job in jobs} == dict.fromkeys(
        ("finetune", "sample", "evaluate"), "COMPLETED"
    )
    assert {str(job.number) for job in jobs} == set(re.findall(r"SLURM jobid (\d+)", printed))
    asked = {job.rule: (job.generic, job.memory, job.minutes, job.partition) for job in jobs}
    assert asked["finetune"] == ("gres:gpu:a100:2", "4100M", "7:00", "main")
    assert asked["sample"] == ("gres:gpu:1", "4200M", "7:00", "second")
    assert asked["evaluate"] == ("N/A", "4200M", "7:00", "second")
    assert {job.constraint for job in jobs} == {"quick"}


def test_a_finetune_on_two_nodes_gives_what_one_node_gave(cluster: Cluster, prepared: Path) -> None:
    """The losses of one process on each of two nodes are those of one, up to the order of sums."""
    log = (prepared / FINETUNED).with_suffix(".log.csv")
    one = pd.read_csv(log)["loss"].to_numpy()
    config = (LONGER, "resources={finetune: {nodes: 2, gpus: 1}}")
    options = ["--forcerun", "finetune", "--set-resources", "finetune:device=auto"]  # GPUs are made up
    status, printed, jobs = cluster.run(prepared, str(FINETUNED), *options, config=config)
    assert status == 0, printed[-3000:]
    (job,) = jobs
    assert (job.rule, job.state, job.nodes, job.generic) == ("finetune", "COMPLETED", "n[1-2]", "gres:gpu:1")
    two = pd.read_csv(log)["loss"].to_numpy()
    assert len(one) == len(two) == 160
    assert two[:20] == pytest.approx(one[:20], rel=1e-3, abs=1e-3)


def test_a_failing_job_shows_its_log(cluster: Cluster, prepared: Path) -> None:
    features = "results/smoke/features/classifier.safetensors"
    status, printed, jobs = cluster.run(
        prepared,
        features,
        "--forcerun",
        "features",
        "--retries",
        "0",
        config=("classifier={minimum_accuracy: 1}",),
    )
    assert status != 0
    assert [(job.rule, job.state) for job in jobs] == [("features", "FAILED")]
    assert "is below minimum_accuracy 1.0: train longer, or lower it" in printed


def test_a_job_for_a_gpu_fails_on_a_node_where_torch_sees_none(cluster: Cluster, prepared: Path) -> None:
    config = (LONGER, "resources={sample: {gpus: 1}}")
    samples = str(MODEL / "base/seed=0/s=0/samples/1/shard_0.npz")
    status, printed, jobs = cluster.run(
        prepared, samples, "--forcerun", "sample", "--retries", "0", config=config
    )
    assert status != 0
    assert [(job.rule, job.generic, job.state) for job in jobs] == [("sample", "gres:gpu:1", "FAILED")]
    assert "error: --device gpu:1: torch " in printed


def test_a_job_over_its_memory_is_submitted_again_with_more(cluster: Cluster, prepared: Path) -> None:
    heldout = "results/smoke/data/heldout.npz"
    little = ["--set-resources", "heldout:mem_mb=300 * attempt ** 4"]  # 300, then 4800 MB
    status, printed, jobs = cluster.run(prepared, heldout, "--forcerun", "heldout", *little, config=(LONGER,))
    assert status == 0, printed[-3000:]
    assert [(job.state, job.memory) for job in jobs] == [("FAILED", "300M"), ("COMPLETED", "4800M")]


def started(cluster: Cluster, run: Run, log: Path, what: str) -> int:
    """The number of the last job, once its training, ``what``, has begun by its log."""
    while not (log.exists() and f"{what}:" in log.read_text()):
        assert run.poll() is None, run.communicate()[0][-3000:]
        time.sleep(0.1)
    return cluster.jobs()[-1].number


def test_a_cancelled_finetune_is_gone_on_with(cluster: Cluster, prepared: Path) -> None:
    file = MODEL / "unlearn_lambda=0.1/seed=0/model.safetensors"
    log = prepared / "results/smoke/logs/finetune/llamagen-s_unlearn_lambda=0.1_seed=0.log"
    config = (LONGER, "keep_every=3600")  # so that SIGTERM alone has the state kept
    run = cluster.begin(prepared, str(file), "--retries", "0", config=config)
    subprocess.run(["scancel", str(started(cluster, run, log, "finetune"))], check=True)
    printed, _ = run.communicate()
    assert run.returncode != 0
    assert cluster.jobs()[-1].state in {"CANCELLED", "FAILED"}
    assert (prepared / file).with_suffix(".progress.pt").exists(), log.read_text()
    status, printed, _ = cluster.run(prepared, str(file), config=config)
    assert status == 0, printed[-3000:]
    record = json.loads((prepared / file).with_suffix(".provenance.json").read_text())
    assert record["measured"]["resumed_at_step"] > 0


def test_a_training_over_its_time_is_gone_on_with_by_a_further_job(cluster: Cluster, prepared: Path) -> None:
    """Its limit is cut down once it has begun; SLURM looks at limits twice a minute."""
    model = "results/smoke/llamagen-s/base/model.safetensors"
    log = prepared / "results/smoke/logs/pretrain/llamagen-s.log"
    log.unlink()  # of the training before
    longer = "models={llamagen-s: {pretraining: {steps: 6000}}}"  # more than a minute
    before = len(cluster.jobs())
    run = cluster.begin(prepared, model, config=(longer, "keep_every=3600"))
    first = started(cluster, run, log, "pretrain")
    subprocess.run(["scontrol", "update", f"jobid={first}", "timelimit=0:01"], check=True)
    printed, _ = run.communicate()
    assert run.returncode == 0, printed[-3000:]
    cut_off, last = cluster.jobs()[before:]
    assert (cut_off.rule, last.rule) == ("pretrain", "pretrain")
    assert cut_off.state in {"TIMEOUT", "FAILED"} and last.state == "COMPLETED"
    record = json.loads((prepared / model).with_suffix(".provenance.json").read_text())
    assert record["measured"]["resumed_at_step"] > 0
