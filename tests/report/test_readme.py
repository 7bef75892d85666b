"""README's excerpts of measured tiers, held against the published files."""

import math
import re
from pathlib import Path

import numpy as np
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


def prose() -> str:
    """README on one line."""
    return " ".join((ROOT / "README.md").read_text().split())


def shown(cell: str) -> list[tuple[float, float]]:
    """Of the mean and the deviation, if any, in a cell: the number, and half a unit of its last digit."""
    parts = [part.strip() for part in cell.split("±")]
    return [(float(part), 0.5001 * 10 ** -len(part.partition(".")[2])) for part in parts]


def test_both_measured_tiers_are_shown() -> None:
    assert {tier for tier, *_ in excerpts()} == {"mini", "cifar10"}


def number(name: str, text: str) -> float | None:
    """What follows ``name =`` in a label."""
    found = re.search(rf"\b{name} = ([\d.]+\b)", text)
    return float(found[1]) if found else None


def guided(tier: str, model: str, scale: float, several: bool) -> pd.Series:
    """What is published of a model with CFG: of several seeds, in the claims, FID and IS only."""
    if several:
        table = pd.read_csv(PUBLISHED / tier / "table2.csv").set_index("model")
        assert scale == table.loc[model, "cfg_scale"]  # the claims do not say theirs
        claims = pd.read_csv(PUBLISHED / tier / "claims.csv").set_index(["claim", "model"])
        text = claims.loc[("cfg_improves", model), "measured"]
        return pd.Series({m: float(re.search(rf"cfg\.{m} ([\d.]+)", text)[1]) for m in METRICS[:2]})
    sweep = pd.read_csv(PUBLISHED / tier / "fig4_lambda_sweep.csv")
    return sweep.set_index(["panel", "method", "s"]).loc[(model, "cfg", scale), METRICS]


def unguided(tier: str, model: str, label: str, several: bool) -> pd.Series:
    """The row of table 3, with the deviations of several seeds."""
    table = pd.read_csv(PUBLISHED / tier / "table3.csv").set_index("model")
    method = label.partition("+ ")[2].partition(",")[0]
    wanted = f"{model} +{method}" if method else model
    (name,) = [name for name in table.index if name.partition(" (")[0] == wanted]
    assert number("λ", label) == number("λ", name)
    row = table.loc[name]
    assert several == pd.notna(row["fid_std"])
    return row[METRICS + ([f"{metric}_std" for metric in METRICS] if several else [])]


def published(tier: str, model: str, label: str, several: bool) -> pd.Series:
    """What a row of README's tables is an excerpt of."""
    if "CFG" in label:
        return guided(tier, model, number("s", label), several)
    return unguided(tier, model, label, several)


@pytest.mark.parametrize(("tier", "model", "label", "cells"), excerpts())
def test_numbers_are_the_published_ones(tier: str, model: str, label: str, cells: list[str]) -> None:
    several = "±" in cells[0]
    given = {}
    for metric, cell in zip(METRICS, cells, strict=True):
        names = [metric, f"{metric}_std"] if several else [metric]
        given |= dict(zip(names, shown(cell), strict=True))
    for name, value in published(tier, model, label, several).items():
        digits, half = given[name]
        assert digits == pytest.approx(value, abs=half)


def way(tier: str, model: str) -> tuple[float, float, float]:
    """How far CCA goes from the pretrained model's FID to that with CFG, in per cent; its λ, and CFG's s."""
    rows = [(label, "±" in cells[0]) for *where, label, cells in excerpts() if where == [tier, model]]
    (base,), (cca,), (cfg,) = (
        [row for row in rows if mark in row[0]] for mark in (f"**{model}**", "+ CCA", "CFG")
    )
    start, reached, end = (published(tier, model, *row)["fid"] for row in (base, cca, cfg))
    return 100 * (start - reached) / (start - end), number("λ", cca[0]), number("s", cfg[0])


def test_how_far_cca_goes_is_what_the_published_numbers_say() -> None:
    text = prose()
    shares = re.search(r"CCA without guidance goes ([^.]+) of the way from", text)[1]
    said = {model: int(percent) for percent, model in re.findall(r"(\d+) % \((.+?)\)", shares)}
    assert set(said) == {model for tier, model, *_ in excerpts() if tier == "mini"}
    for model, percent in said.items():
        assert percent == round(way("mini", model)[0])
    found = re.findall(r"λ = ([\d.]+),? (?:which )?is (\d+) % of the way in FID to s = ([\d.]+\b)", text)
    for (lam, percent, scale), model in zip(found, ("LlamaGen", "VAR"), strict=True):
        exact, *of = way("cifar10", model)
        assert int(percent) == round(exact) and [float(lam), float(scale)] == of


def test_how_near_cca_stays_to_cfg_is_what_the_published_sweep_says() -> None:
    text = prose()
    pattern = r"As far as λ = ([\d.]+), CCA without guidance stays within ([^.]+) of CFG's FID at equal IS"
    last, shares = re.search(pattern, text).groups()
    sweep = pd.read_csv(PUBLISHED / "cifar10/fig4_lambda_sweep.csv").sort_values("inception_score")
    said = {model: int(percent) for percent, model in re.findall(r"(\d+) % \((.+?)\)", shares)}
    assert set(said) == set(sweep["panel"])
    for model, percent in said.items():
        points = sweep[sweep["panel"] == model]
        cfg = points[points["method"] == "cfg"]
        cca = points[(points["method"] == "cca") & (points["lam"] <= float(last))]
        cca = cca[cca["inception_score"] >= cfg["inception_score"].min()]  # else CFG has no equal one
        beside = np.interp(cca["inception_score"], cfg["inception_score"], cfg["fid"])
        assert percent == math.ceil(100 * (cca["fid"] / beside - 1).abs().max())


def test_what_real_images_score_and_what_is_noise_is_what_was_published() -> None:
    text = prose()
    table = pd.read_csv(PUBLISHED / "cifar10/table2.csv").set_index("model")
    real = re.search(r"Real held-out images have FID (.+?), IS (.+?), precision (.+?), recall (.+?);", text)
    for name, cell in zip(("fid", "inception_score", "precision", "recall"), real.groups(), strict=True):
        ((digits, half),) = shown(cell)
        assert digits == pytest.approx(table.loc["real images, held out", name], abs=half)
    noise = re.search(r"95 % are within (FID ± .+?, recall ± [\d.]+\d)", text)[1]
    assert noise in (PUBLISHED / "cifar10/pitfalls.md").read_text()
