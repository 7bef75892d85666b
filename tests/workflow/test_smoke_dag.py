"""The whole DAG at the smoke tier: what it makes, what makes it run again, what stops it."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cca.config import load_tier
from cca.records.environment import PACKAGES

from ..smoke import command

REPOSITORY = Path(__file__).parents[2]
TIER = load_tier("smoke", REPOSITORY / "workflow/config")
Run = Callable[..., subprocess.CompletedProcess]


def planned(run: subprocess.CompletedProcess) -> dict[str, int]:
    """Rules of a dry run and their numbers of jobs, from Snakemake's job table."""
    assert run.returncode == 0, run.stderr[-2000:]
    lines = (run.stdout + run.stderr).splitlines()
    start = next(index for index, line in enumerate(lines) if line.split() == ["job", "count"])
    rows = [line.split() for line in lines[start + 2 :]]
    end = next(index for index, row in enumerate(rows) if row[:1] == ["total"])
    return {rule: int(count) for rule, count in rows[:end]}


def table(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open()))


def test_every_artefact_is_there_and_none_is_empty(finished: Path) -> None:
    wanted = [f"results/{name}.{kind}" for name in TIER.tables for kind in ("csv", "md", "tex")]
    wanted += [f"paper_figures/{name}.{kind}" for name in TIER.figures for kind in ("pdf", "png", "csv")]
    wanted += [
        f"results/{name}.{kind}" for name in ("claims", "pitfalls", "theory") for kind in ("csv", "md")
    ]
    assert len(wanted) >= 9
    assert all((finished / path).stat().st_size > 100 for path in wanted)


def test_reported_and_measured_rows_never_mix(finished: Path) -> None:
    rows = table(finished / "results/table2.csv")
    reported = [row for row in rows if row["source"] == "reported"]
    measured = [row for row in rows if row["source"] == "measured"]
    assert len(reported) == 15 and {row["benchmark"] for row in reported} == {"imagenet-256"}
    assert measured and {row["benchmark"] for row in measured} == {"mnist5k-smoke"}
    assert len(reported) + len(measured) == len(rows)


def test_a_number_of_the_table_is_the_one_of_its_metrics(finished: Path) -> None:
    row = next(row for row in table(finished / "results/table2.csv") if row["source"] == "measured")
    for scale, column in ((0, "fid"), (1, "cfg_fid")):
        metrics = json.loads((finished / row["origin"] / f"seed=0/s={scale}/metrics.json").read_text())
        assert float(row[column]) == pytest.approx(metrics["fid"], rel=1e-5)


def test_pitfalls_start_from_the_metrics_of_the_experiment_that_they_name(finished: Path) -> None:
    rows = {row["name"]: row for row in table(finished / "results/pitfalls.csv")}
    plan = TIER.pitfalls
    named = {
        "as it should be": plan.right,
        "s - 1": plan.off_by_one()["s - 1"],
    }  # s + 1 is drawn, not evaluated
    for name, experiment in named.items():
        metrics = json.loads((finished / "results/smoke" / experiment.metrics).read_text())
        for metric in ("fid", "sfid", "precision", "recall"):
            assert float(rows[name][metric]) == pytest.approx(metrics[metric], rel=1e-5)
    changed = (finished / f"results/smoke/{plan.right.metrics.parent}").glob("*/samples/1/shard_0.npz")
    assert {path.parents[2].name for path in changed} == set(plan.sampling)


def test_a_file_of_samples_that_the_tier_names_has_a_measured_row(finished: Path) -> None:
    row = table(finished / "results/table2.csv")[-1]
    assert (row["source"], row["model"], row["num_samples"]) == ("measured", "real images, held out", "40")
    metrics = json.loads((finished / "results/smoke/external/heldout/metrics.json").read_text())
    assert float(row["fid"]) == pytest.approx(metrics["fid"], rel=1e-5) and row["cfg_fid"] == ""
    record = json.loads((finished / row["origin"]).with_suffix(".provenance.json").read_text())
    assert record["output"]["sha256"] == metrics["samples_sha256"]


def test_every_stage_left_a_record_of_what_made_its_output(finished: Path) -> None:
    results = finished / "results/smoke"
    records = {path: json.loads(path.read_text()) for path in results.rglob("*.provenance.json")}
    assert len(records) > 60
    wanted = {
        "stage",
        "settings",
        "arguments",
        "inputs",
        "output",
        "beside",
        "measured",
        "code",
        "environment",
    }
    wanted |= {"started", "wall_seconds", "peak_memory_bytes"}
    for path, record in records.items():
        assert wanted <= set(record), path
        assert {"version", "sha256", "commit", "dirty"} <= set(record["code"]), path
        assert set(record["environment"]) == {"packages", "python", "machine", "device", "threads"}, path
        assert set(record["environment"]["packages"]) == set(PACKAGES), path
    outputs = {finished / record["output"]["path"] for record in records.values()}
    made = {path for path in results.rglob("*") if path.suffix in {".npz", ".safetensors"}}
    made |= set(results.rglob("metrics.json"))
    assert len(made) > 20 and made <= outputs
    model = next((finished / "results/smoke").rglob("cca_lambda=1/seed=0/model.provenance.json"))
    record = json.loads(model.read_text())
    assert record["arguments"] == {"seed": 0}
    assert set(record["inputs"]) == {"base", "tokenizer", "codes", "pairs", "scores"}
    assert all(len(entry["sha256"]) == 64 for entries in record["inputs"].values() for entry in entries)


def test_finetuning_log_has_the_promised_columns(finished: Path) -> None:
    rows = table(next((finished / "results/smoke").rglob("dpo/seed=0/model.log.csv")))
    assert {"step", "loss", "g_pos", "g_neg", "accuracy", "gradient_norm"} <= set(rows[0])


def test_a_second_run_does_nothing(finished: Path, snakemake: Run) -> None:
    run = snakemake(finished)
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_changing_one_lambda_runs_only_its_branch(finished: Path, snakemake: Run) -> None:
    run = snakemake(finished, "-n", config=("finetunes={cca_lambda=1: {objective: {lam: 1.5}}}",))
    counts = planned(run)
    branch = [experiment for experiment in TIER.experiments() if experiment.finetune == "cca_lambda=1"]
    assert counts["finetune"] == len({experiment.checkpoint for experiment in branch})
    assert counts["sample"] == counts["evaluate"] == len(branch)
    assert not {"data", "features", "tokenizer", "codes", "pretrain", "pairs", "score", "reference"} & set(
        counts
    )


def test_inception_beside_the_classifier_adds_its_own_jobs_only(
    finished: Path, tmp_path: Path, snakemake: Run
) -> None:
    weights = tmp_path / "weights.pth"
    weights.touch()
    config = (f"evaluation={{inception: {weights}}}",)
    run = snakemake(finished, "-n", "-p", "results/table2.csv", config=config)
    commands = [line for line in (run.stdout + run.stderr).splitlines() if "cca --threads 1 " in line]
    extracting = [line for line in commands if " evaluate " in line or " reference " in line]
    assert all(f"--weights {weights} " in line and "cca-inception" in line for line in extracting)
    assert sum(" results/smoke/reference/inception.npz " in line for line in extracting) == len(extracting)
    counts = planned(run)
    assert counts == {
        "reference_by_inception": 1,
        "evaluate_by_inception": len(TIER.tables["table2"].experiments()),
        "evaluate_external_by_inception": 1,
        "table": 1,
        "publish_table": 1,
    }


def test_changing_the_number_of_shards_changes_no_number(copy: Path, snakemake: Run) -> None:
    before = (copy / "results/table2.csv").read_bytes()
    run = snakemake(copy, "results/table2.csv", config=("shards=2",))
    assert run.returncode == 0, run.stderr[-2000:]
    drawn = len(TIER.tables["table2"].experiments())
    assert len(list((copy / "results").rglob("samples/2/shard_1.npz"))) == drawn > 1
    assert (copy / "results/table2.csv").read_bytes() == before


def test_lost_codes_are_made_again_for_a_job_that_reads_them(copy: Path, snakemake: Run) -> None:
    target = "results/smoke/llamagen-s/base/model.safetensors"
    (copy / "results/smoke/tokenizers/vq/codes/1/shard_0.safetensors").unlink()
    (copy / target).unlink()
    assert planned(snakemake(copy, "-n", target)) == {"encode": 1, "codes": 1, "pretrain": 1}


def test_the_linter_has_only_one_advice(tmp_path: Path, snakemake: Run) -> None:
    run = snakemake(tmp_path, "--lint")
    advice = {
        line.strip() for line in (run.stdout + run.stderr).splitlines() if line.strip().startswith("* ")
    }
    assert advice == {"* Specify a conda environment or container for each rule.:"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (("dataa={source: folder}",), "unknown key 'dataa'; allowed keys: benchmark, claims"),
        (("finetunes={dpo: {objective: {name: dpoo}}}",), "'dpoo' is not one of the objectives"),
        (("tier=huge",), "tier 'huge' is not one of: "),
    ],
)
def test_a_bad_configuration_is_one_line_and_status_1(
    tmp_path: Path, snakemake: Run, config: tuple[str, ...], message: str
) -> None:
    run = snakemake(tmp_path, "-n", config=config)
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert run.returncode == 1
    assert len(errors) == 1 and message in errors[0]
    assert "Traceback" not in run.stderr


def test_a_damaged_intermediate_file_stops_the_stage_that_reads_it(copy: Path, snakemake: Run) -> None:
    shard = next((copy / "results/smoke").rglob("dpo/seed=0/s=0/samples/1/shard_0.npz"))
    stamp = shard.stat()
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    os.utime(shard, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    metrics = shard.parents[2] / "metrics.json"
    metrics.unlink()
    run = snakemake(copy, str(metrics.relative_to(copy)))
    assert run.returncode == 1
    assert f"error: {shard.relative_to(copy)}: not what its stage wrote" in run.stdout + run.stderr
    assert not metrics.exists()


def test_a_second_run_in_the_same_folder_is_refused_and_a_killed_one_is_resumed_by_the_same_command(
    copy: Path, snakemake: Run
) -> None:
    target, steps = copy / "results/smoke/llamagen-s/base/model.safetensors", 300
    target.unlink()
    asked = str(target.relative_to(copy))
    config = (f"models={{llamagen-s: {{pretraining: {{steps: {steps}}}}}}}", "keep_every=0")
    first = subprocess.Popen(
        command(copy, asked, config=config),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300
        while not target.with_suffix(".progress.pt").exists():
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(first.pid, signal.SIGSTOP)  # it does not end before the second is refused
        second = snakemake(copy, asked, config=config)
        assert second.returncode == 1
        assert "error: another snakemake run is active in this folder" in second.stderr
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert not target.exists()
    resumed = snakemake(copy, asked, config=config)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    record = json.loads(target.with_suffix(".provenance.json").read_text())
    assert 0 < record["measured"]["resumed_at_step"] < steps
    assert [int(row["step"]) for row in table(target.with_suffix(".log.csv"))] == list(range(steps))


def test_the_picture_in_the_docs_is_the_workflow(tmp_path: Path, snakemake: Run) -> None:
    drawn = re.findall(r"(\w+) --> (\w+)", (REPOSITORY / "docs/workflow.md").read_text())
    graph = snakemake(tmp_path, "artefacts", "--rulegraph", "mermaid-js").stdout
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", graph))
    edges = {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", graph)}
    assert len(edges) > 30
    assert set(drawn) == edges
