"""README's excerpts of measured tiers, held against the published files."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs/results"
METRICS = ["fid", "inception_score", "sfid", "precision", "recall"]
Row = tuple[str, str, str, list[str]]


def excerpts() -> list[Row]:
    """Tier, model, what was done to it, and the cells of every row of README's tables of metrics."""
    rows: list[Row] = []
    tier = model = ""
    for line in (ROOT / "README.md").read_text().splitlines():
        label, *cells = (cell.strip() for cell in line.strip("| ").split("|"))
        if cells and cells[0] == "FID ↓":
            tier = label
        elif not line.startswith("|"):
            tier = ""
        elif tier and not set(line) <= set("|- "):
            if found := re.match(r"\*\*(.+)\*\*", label):
                model = found[1]
            rows.append((tier, model, label, cells))
    return rows


def shown(cell: str) -> list[tuple[float, float]]:
    """Of the mean and the deviation, if any, in a cell: the number, and half a unit of its last digit."""
    parts = [part.strip() for part in cell.split("±")]
    return [(float(part), 0.5001 * 10 ** -len(part.partition(".")[2])) for part in parts]


def test_both_measured_tiers_are_shown() -> None:
    assert {tier for tier, *_ in excerpts()} == {"mini", "cifar10"}


def guided(tier: str, model: str, scale: float, several: bool) -> pd.Series:
    """What is published of a model with CFG: of several seeds, in the claims, FID and IS only."""
    if several:
        claims = pd.read_csv(PUBLISHED / tier / "claims.csv").set_index(["claim", "model"])
        text = claims.loc[("cfg_improves", model), "measured"]
        return pd.Series({m: float(re.search(rf"cfg\.{m} ([\d.]+)", text)[1]) for m in METRICS[:2]})
    sweep = pd.read_csv(PUBLISHED / tier / "fig4_lambda_sweep.csv")
    return sweep.set_index(["panel", "method", "s"]).loc[(model, "cfg", scale), METRICS]


def unguided(tier: str, model: str, method: str, several: bool) -> pd.Series:
    """The row of table 3, with the deviations of several seeds."""
    table = pd.read_csv(PUBLISHED / tier / "table3.csv").set_index("model")
    wanted = f"{model} +{method}" if method else model
    (name,) = [name for name in table.index if name.partition(" (")[0] == wanted]
    row = table.loc[name]
    assert several == pd.notna(row["fid_std"])
    return row[METRICS + ([f"{metric}_std" for metric in METRICS] if several else [])]


@pytest.mark.parametrize(("tier", "model", "label", "cells"), excerpts())
def test_numbers_are_the_published_ones(tier: str, model: str, label: str, cells: list[str]) -> None:
    several = "±" in cells[0]
    if scale := re.search(r"CFG, s = ([\d.]+)", label):
        published = guided(tier, model, float(scale[1]), several)
    else:
        published = unguided(tier, model, label.partition("+ ")[2].partition(",")[0], several)
    given = {}
    for metric, cell in zip(METRICS, cells, strict=True):
        names = [metric, f"{metric}_std"] if several else [metric]
        given |= dict(zip(names, shown(cell), strict=True))
    for name, value in published.items():
        number, half = given[name]
        assert number == pytest.approx(value, abs=half)
