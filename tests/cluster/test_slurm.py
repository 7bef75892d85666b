"""The workflow on a real SLURM: what is submitted, what fails, what is gone on with."""

import json
import re
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ..smoke import command

REPOSITORY = Path(__file__).parents[2]
MODEL = Path("results/smoke/llamagen-s")
FINETUNED = MODEL / "sft/seed=0/model.safetensors"
LONGER = "models={llamagen-s: {pairs: {visits: 40}}}"
"""Finetuning of 160 steps, seconds, so that a job can be cancelled in its middle."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, cluster: object) -> Path:
    """A folder in which a finetune's inputs were made, without the cluster."""
    folder = tmp_path_factory.mktemp("prepared")
    scores = MODEL / "pairs/mask=0.1/seed=0/scores/1/shard_0.npz"
    call = command(folder, str(scores), config=[LONGER])
    made = subprocess.run(call, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    return folder


def site(folder: Path, **rules: dict) -> Path:
    """A site's copy of the profile, changed where its comments say."""
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(profile | {"set-resources": rules}))
    return folder


def test_stages_are_jobs_with_what_tier_and_site_ask_for(cluster, prepared: Path, tmp_path: Path) -> None:
    profile = site(
        tmp_path / "site",
        finetune={"gres": "gpu:2", "mem_mb": "4100 * attempt", "slurm_partition": "main"},
        sample={"device": "auto"},  # this cluster's GPUs are made up
    )
    wanted = [str(FINETUNED), str(MODEL / "base/seed=0/s=0/metrics.json")]
    tier = "resources={default: {mem_mb: 4200, runtime: 7}, sample: {gpus: 1}}"
    status, printed, jobs = cluster.run(prepared, *wanted, config=(LONGER, tier), profile=profile)
    assert status == 0, printed[-3000:]
    assert all((prepared / file).stat().st_size for file in wanted)
    assert {job.rule: job.state for job in jobs} == dict.fromkeys(
        ("finetune", "sample", "features", "reference", "evaluate"), "COMPLETED"
    )
    assert {str(job.number) for job in jobs} == set(re.findall(r"SLURM jobid (\d+)", printed))
    asked = {job.rule: (job.generic, job.memory, job.minutes) for job in jobs}
    assert asked["finetune"] == ("gres:gpu:2", "4100M", "7:00")
    assert asked["sample"] == ("gres:gpu:1", "4200M", "7:00")
    assert asked["evaluate"] == ("N/A", "4200M", "7:00")


def test_a_finetune_on_two_nodes_gives_what_one_node_gave(cluster, prepared: Path) -> None:
    """The losses of one process on each of two nodes are those of one, up to the order of sums."""
    log = (prepared / FINETUNED).with_suffix(".log.csv")
    one = pd.read_csv(log)["loss"].to_numpy()
    config = (LONGER, "resources={finetune: {nodes: 2}}")
    status, printed, jobs = cluster.run(prepared, str(FINETUNED), "--forcerun", "finetune", config=config)
    assert status == 0, printed[-3000:]
    assert [(job.rule, job.state, job.nodes) for job in jobs] == [("finetune", "COMPLETED", "n[1-2]")]
    two = pd.read_csv(log)["loss"].to_numpy()
    assert len(one) == len(two) == 160
    assert two[:20] == pytest.approx(one[:20], rel=1e-3, abs=1e-3)


def test_a_failing_job_shows_its_log(cluster, prepared: Path) -> None:
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


def test_a_job_for_a_gpu_fails_on_a_node_where_torch_sees_none(cluster, prepared: Path) -> None:
    config = (LONGER, "resources={sample: {gpus: 1}}")
    samples = str(MODEL / "base/seed=0/s=0/samples/1/shard_0.npz")
    status, printed, jobs = cluster.run(
        prepared, samples, "--forcerun", "sample", "--retries", "0", config=config
    )
    assert status != 0
    assert [(job.rule, job.generic, job.state) for job in jobs] == [("sample", "gres:gpu:1", "FAILED")]
    assert "error: --device gpu: torch " in printed


def test_a_job_over_its_memory_is_submitted_again_with_more(cluster, prepared: Path) -> None:
    heldout = "results/smoke/data/heldout.npz"
    little = ["--set-resources", "heldout:mem_mb=300 * attempt ** 4"]  # 300, then 4800 MB
    status, printed, jobs = cluster.run(prepared, heldout, *little, config=(LONGER,))
    assert status == 0, printed[-3000:]
    assert [(job.state, job.memory) for job in jobs] == [("FAILED", "300M"), ("COMPLETED", "4800M")]


def test_a_cancelled_finetune_is_gone_on_with(cluster, prepared: Path) -> None:
    file = MODEL / "unlearn_lambda=0.1/seed=0/model.safetensors"
    log = prepared / "results/smoke/logs/finetune/llamagen-s_unlearn_lambda=0.1_seed=0.log"
    config = (LONGER, "keep_every=3600")  # so that SIGTERM alone has the state kept
    run = cluster.begin(prepared, str(file), "--retries", "0", config=config)
    while not (log.exists() and "finetune:" in log.read_text()):
        assert run.poll() is None, run.communicate()[0][-3000:]
        time.sleep(0.1)
    job = cluster.jobs()[-1]
    subprocess.run(["scancel", str(job.number)], check=True)
    printed, _ = run.communicate()
    assert run.returncode != 0
    assert cluster.jobs()[-1].state in {"CANCELLED", "FAILED"}
    assert (prepared / file).with_suffix(".progress.pt").exists(), log.read_text()
    status, printed, _ = cluster.run(prepared, str(file), config=config)
    assert status == 0, printed[-3000:]
    record = json.loads((prepared / file).with_suffix(".provenance.json").read_text())
    assert record["measured"]["resumed_at_step"] > 0
