"""Numbers in the prose beside the published verdicts, held against the published files."""

import re
from pathlib import Path

import pandas as pd
import pytest

RESULTS = Path(__file__).parents[2] / "docs/results"
COLUMNS = {"FID": "fid", "IS": "inception_score", "sFID": "sfid", "recall": "recall"}


@pytest.fixture(scope="module")
def page() -> str:
    return " ".join((RESULTS / "README.md").read_text().split())


def rounded(value: float, like: str) -> str:
    """With as many digits after the point as ``like`` has."""
    return f"{value:.{len(like.partition('.')[2])}f}"


def test_changes_by_finetuning_are_those_of_table_3(page: str) -> None:
    tables = [pd.read_csv(RESULTS / tier / "table3.csv") for tier in ("mini", "cifar10")]
    measured = pd.concat(tables).query("source == 'measured'")
    measured.index = measured["model"].str.partition(" (")[0]
    changes = re.findall(r"(\w+) ([\d.]+) → ([\d.]+) \(([\w-]+), (\w+)\)", page)
    assert len(changes) == page.count("→") - 1  # and the one that explains the sign
    for metric, before, after, model, method in changes:
        column = measured[COLUMNS[metric]]
        assert before == rounded(column[model], before)
        assert after == rounded(column[f"{model} +{method}"], after)


def test_floors_are_the_tokenizers_rfid_beside_the_best_guided_fid(page: str) -> None:
    sweep = pd.read_csv(RESULTS / "cifar10/fig4_lambda_sweep.csv").query("method == 'cfg'")
    found = re.findall(r"([\d.]+) of ([\d.]+) \((\w+)\)", page)
    assert {model for *_, model in found} == set(sweep["panel"])
    for rfid, best, model in found:
        points = sweep[sweep["panel"] == model]
        assert rfid == rounded(points["rfid"].iloc[0], rfid)
        assert best == rounded(points["fid"].min(), best)


def test_the_part_of_the_gap_is_what_the_claim_says(page: str) -> None:
    said = re.search(r"CIFAR-10's VAR goes (\d+) % of it in FID and (\d+) % in IS", page).groups()
    claims = pd.read_csv(RESULTS / "cifar10/claims.csv").set_index(["claim", "model"])
    measured = claims.loc[("cca_closes_gap", "VAR"), "measured"]
    shares = re.findall(r"share of the gap ([\d.]+)", measured)
    assert list(said) == [f"{100 * float(share):.0f}" for share in shares]


def test_hours_are_the_sum_of_the_published_jobs(page: str) -> None:
    said = re.search(r"sum of its jobs is ([\d.]+) hours of one core", page)[1]
    stages = pd.read_json(RESULTS / "cifar10/provenance.json", typ="series")["stages"]
    assert said == rounded(sum(stage["minutes"] for stage in stages) / 60, said)
