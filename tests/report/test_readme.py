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


@pytest.mark.parametrize(("tier", "model", "label", "cells"), excerpts())
def test_numbers_are_the_published_ones(tier: str, model: str, label: str, cells: list[str]) -> None:
    if scale := re.search(r"CFG, s = (\d+)", label):
        if "±" not in cells[0]:  # one seed: the sweep's
            sweep = pd.read_csv(PUBLISHED / tier / "fig4_lambda_sweep.csv").set_index(
                ["panel", "method", "s"]
            )
            for metric, cell in zip(METRICS, cells, strict=True):
                ((number, half),) = shown(cell)
                assert number == pytest.approx(sweep.loc[(model, "cfg", float(scale[1])), metric], abs=half)
            return
        claims = pd.read_csv(PUBLISHED / tier / "claims.csv").set_index(["claim", "model"])
        text = claims.loc[("cfg_improves", model), "measured"]
        for metric, cell in zip(METRICS[:2], cells, strict=False):
            number, half = shown(cell)[0]
            mean = float(re.search(rf"cfg\.{metric} ([\d.]+)", text)[1])
            assert number == pytest.approx(mean, abs=half)
        return
    table = pd.read_csv(PUBLISHED / tier / "table3.csv").set_index("model")
    method = label.partition("+ ")[2].partition(",")[0]
    wanted = f"{model} +{method}" if method else model
    (name,) = [name for name in table.index if name.partition(" (")[0] == wanted]
    for metric, cell in zip(METRICS, cells, strict=True):
        (mean, mean_half), *deviations = shown(cell)
        assert mean == pytest.approx(table.loc[name, metric], abs=mean_half)
        assert len(deviations) == table.loc[name, [f"{metric}_std"]].notna().sum()
        for deviation, half in deviations:
            assert deviation == pytest.approx(table.loc[name, f"{metric}_std"], abs=half)
