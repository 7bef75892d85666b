"""README's excerpt of the mini tier, held against the published files."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
MINI = ROOT / "docs/results/mini"
METRICS = ["fid", "inception_score", "sfid", "precision", "recall"]


def excerpt() -> list[tuple[str, str, list[str]]]:
    """Model, what was done to it, and the five cells of every row of README's table."""
    text = (ROOT / "README.md").read_text()
    lines = [
        line.strip("| ").split("|") for line in text.splitlines() if "±" in line and line.startswith("|")
    ]
    rows, model = [], ""
    for label, *cells in lines:
        if found := re.match(r"\*\*(.+)\*\*", label):
            model = found[1]
        rows.append((model, label.strip(), [cell.strip() for cell in cells]))
    return rows


def shown(cell: str) -> list[tuple[float, float]]:
    """Of the mean and the deviation in a cell: the number, and half a unit of its last digit."""
    parts = [part.strip() for part in cell.split("±")]
    return [(float(part), 0.5001 * 10 ** -len(part.partition(".")[2])) for part in parts]


@pytest.mark.parametrize(("model", "label", "cells"), excerpt())
def test_numbers_are_the_published_ones(model: str, label: str, cells: list[str]) -> None:
    if "CFG" in label:
        claims = pd.read_csv(MINI / "claims.csv").set_index(["claim", "model"])
        text = claims.loc[("cfg_improves", model), "measured"]
        for metric, cell in zip(METRICS[:2], cells, strict=False):
            (number, half), _ = shown(cell)
            mean = float(re.search(rf"cfg\.{metric} ([\d.]+)", text)[1])
            assert number == pytest.approx(mean, abs=half)
        return
    table = pd.read_csv(MINI / "table3.csv").set_index("model")
    method = label.partition("+ ")[2].partition(",")[0]
    wanted = f"{model} +{method}" if method else model
    (name,) = [name for name in table.index if name.partition(" (")[0] == wanted]
    for metric, cell in zip(METRICS, cells, strict=True):
        (mean, mean_half), (deviation, deviation_half) = shown(cell)
        assert mean == pytest.approx(table.loc[name, metric], abs=mean_half)
        assert deviation == pytest.approx(table.loc[name, f"{metric}_std"], abs=deviation_half)
