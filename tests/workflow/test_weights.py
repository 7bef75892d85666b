"""The extractor's weights: both rules that extract features are given them, named or fetched."""

from collections.abc import Callable
from pathlib import Path

import yaml

from cca.config import FETCHED_INCEPTION
from cca.evaluate.protocol import INCEPTION_SHA256, INCEPTION_URL

METRICS = "results/smoke/llamagen-s/base/seed=0/s=0/metrics.json"


def test_weights_reach_the_rules_that_extract_and_no_setting_names_them(
    snakemake: Callable, tmp_path: Path
) -> None:
    values = {"classifier": None, "evaluation": {"extractor": "cca-inception", "weights": "w.pth"}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    options = (METRICS, "-n", "-p", "--configfile", "values.yaml")
    refused = snakemake(tmp_path, *options)
    assert refused.returncode == 1
    assert "key 'evaluation.weights': w.pth: no such file" in refused.stderr
    (tmp_path / "w.pth").touch()
    plan = snakemake(tmp_path, *options)
    assert plan.returncode == 0, plan.stderr[-2000:]
    lines = (plan.stdout + plan.stderr).splitlines()
    for stage in ("evaluate", "reference"):
        (command,) = [line for line in lines if f"cca --threads 1 --device auto {stage} " in line]
        assert " --weights w.pth " in command and '"weights"' not in command
    assert not [line for line in lines if "classifier.safetensors" in line]


def test_inceptions_weights_are_fetched_once_before_the_jobs_that_extract(
    snakemake: Callable, tmp_path: Path
) -> None:
    values = {"classifier": None, "evaluation": {"extractor": "cca-inception"}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    plan = snakemake(tmp_path, METRICS, "-n", "-p", "--configfile", "values.yaml")
    assert plan.returncode == 0, plan.stderr[-2000:]
    lines = (plan.stdout + plan.stderr).splitlines()
    assert lines.count("rule fetch_inception:") == 1
    (fetch,) = [line for line in lines if "cca fetch " in line]
    assert INCEPTION_URL in fetch and INCEPTION_SHA256 in fetch
    assert fetch.count(f" --out {FETCHED_INCEPTION} ") == 1
    for stage in ("evaluate", "reference"):
        (command,) = [line for line in lines if f"cca --threads 1 --device auto {stage} " in line]
        assert f" --weights {FETCHED_INCEPTION} " in command
