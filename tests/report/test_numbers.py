"""A number of a table, followed to the measurements that it is computed from."""

import csv
import json
import statistics
from pathlib import Path

import pytest
from torch import nn

from cca import checkpoints
from cca.cli import main
from cca.errors import CCAError
from cca.files import write_json
from cca.report.numbers import check, find

REPOSITORY = Path(__file__).parents[2]
METRICS = ("fid", "sfid", "inception_score", "precision", "recall")
SETTINGS = {
    "name": "table2",
    "benchmark": "b",
    "titles": {"m": "M"},
    "inception": True,
    "objectives": {"cca": {"name": "cca", "lam": 1.0}},
    "content": {
        "measured": [{"model": "m", "cfg_scale": 1.5}, {"model": "m", "finetune": "cca"}],
        "seeds": [0, 3],
    },
}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Table 2 of two rows and two seeds, every measurement another number."""
    monkeypatch.chdir(tmp_path)
    number = 1.0
    for folder in ("base/seed={}/s=0", "base/seed={}/s=1.5", "cca/seed={}/s=0"):
        for seed in (0, 3):
            values = {name: (number := number * 1.1) for name in METRICS}
            values |= {"num_samples": 10, "samples_sha256": "ab" * 32}
            metrics = Path("results/t/m", folder.format(seed), "metrics.json")
            write_json(metrics, values)
            write_json(metrics.with_name("inception.json"), values | {"fid": values["fid"] + 1000})
    checkpoints.save(Path("results/t/m/base/model.safetensors"), nn.Linear(1, 1), {"parameters": 77})
    command = ["report", "table", "--settings", json.dumps(SETTINGS), "--results", "results/t"]
    command += ["--reported", f"{REPOSITORY}/workflow/resources/reported/table2.csv"]
    out = "results/t/tables/table2.csv"
    monkeypatch.setattr("sys.argv", ["cca", "--threads", "1", *command, "--out", out])
    main()
    return Path(out)


def cells(table: Path) -> dict[str, dict]:
    return {row["model"]: row for row in csv.DictReader(table.open()) if row["source"] == "measured"}


@pytest.mark.parametrize(
    ("row", "column", "key", "folder"),
    [
        ("M", "FID", "fid", "m/base/seed={}/s=0"),
        ("M", "FID with CFG", "cfg_fid", "m/base/seed={}/s=1.5"),
        ("M", "Inception FID with CFG", "cfg_fid_inception", "m/base/seed={}/s=1.5"),
        ("CCA", "fid_inception_std", "fid_inception_std", "m/cca/seed={}/s=0"),
        ("CCA", "IS", "inception_score", "m/cca/seed={}/s=0"),
        ("m +cca (β = 0.02,  λ = 1)", "recall_std", "recall_std", "m/cca/seed={}/s=0"),
    ],
)
def test_a_number_is_of_the_metrics_of_its_seeds(
    table: Path, row: str, column: str, key: str, folder: str
) -> None:
    number = find(table, row, column)
    name, metric = "metrics.json", key.removeprefix("cfg_").removesuffix("_std")
    if metric == "fid_inception":
        name, metric = "inception.json", "fid"
    paths = [f"results/t/{folder.format(seed)}/{name}" for seed in (0, 3)]
    assert list(number.files) == paths
    assert list(number.files.values()) == [json.loads(Path(path).read_text())[metric] for path in paths]
    reduced = statistics.stdev if key.endswith("_std") else statistics.mean
    assert float(cells(table)[number.row][key]) == pytest.approx(reduced(number.files.values()), rel=1e-5)
    assert (number.column, number.value) == (key, cells(table)[number.row][key])


def test_the_number_of_parameters_is_the_checkpoints(table: Path) -> None:
    assert find(table, "M", "parameters").files == {"results/t/m/base/model.safetensors": None}


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ("VAR", "FID", "no measured row 'VAR'; there are: M; M \\+CCA"),
        ("LlamaGen-B", "FID", "no measured row"),
        ("M", "fud", "no column 'fud'; there are: benchmark, source"),
        ("CCA", "FID with CFG", "is no measured number"),
        ("M", "citation", "no column 'citation'"),
    ],
)
def test_what_is_no_measured_number_is_one_line(table: Path, row: str, column: str, message: str) -> None:
    with pytest.raises(CCAError, match=message):
        find(table, row, column)


def test_a_metric_that_changed_since_is_told(table: Path) -> None:
    path = Path("results/t/m/cca/seed=3/s=0/metrics.json")
    write_json(path, json.loads(path.read_text()) | {"fid": 99.0})
    with pytest.raises(CCAError, match=r"'fid' of 'M \+CCA .*' is .*, but its measurements give"):
        check(table, find(table, "CCA", "FID"))


def test_only_tables_have_rows(table: Path) -> None:
    with pytest.raises(CCAError, match=r"metrics.json: not the CSV of a table"):
        find(Path("results/t/m/cca/seed=3/s=0/metrics.json"), "M", "FID")
