"""Figures of metrics: their points are the experiments' means, their curves go through the points."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import read_json
from cca.report import style

from .conftest import CONTENT, MODELS, RFIDS, SEEDS, axes_of, lines, model_of, points_of

METRIC_FIGURES = ["fig1_scaling", "fig4_lambda_sweep", "fig5_lambda_cfg", "fig6_cca_cfg", "fig_beta"]


def bars(axis: Axes) -> int:
    return sum(
        len(collection.get_segments())
        for collection in axis.collections
        if isinstance(collection, LineCollection)
    )


def rfid_lines(axis: Axes) -> list[float]:
    return [line.get_ydata()[0] for line in axis.get_lines() if line.get_label() == style.RFID]


@pytest.mark.parametrize("name", METRIC_FIGURES)
def test_points_are_means_and_deviations_of_the_metrics(made: Path, name: str) -> None:
    points = points_of(made, name)
    for point in points.itertuples():
        model = model_of(point.model if name == "fig1_scaling" else point.panel)
        runs = [read_json(made / Experiment(model, point.finetune, seed, point.s).metrics) for seed in SEEDS]
        for metric in ("fid", "inception_score"):
            values = [run[metric] for run in runs]
            assert getattr(point, metric) == pytest.approx(np.mean(values), rel=1e-5)
            assert getattr(point, f"{metric}_std") == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    assert len(points) == len(points.drop_duplicates(["panel", "model", "finetune", "s"]))


@pytest.mark.parametrize("name", METRIC_FIGURES)
def test_deviations_are_drawn_where_there_are_several_seeds(made: Path, name: str) -> None:
    for seeds, drawn in ((SEEDS, True), ([0], False)):
        points = points_of(made, name, seeds=seeds)
        assert all((bars(axis) > 0) == drawn for axis in axes_of(name, points))


@pytest.mark.parametrize("name", METRIC_FIGURES)
def test_the_dashed_line_of_fid_panels_is_the_rfid_of_the_models_tokenizers(made: Path, name: str) -> None:
    axes = axes_of(name, points_of(made, name))
    fid_panels = [axis for axis in axes if axis.get_ylabel() == style.NAMES["fid"]]
    expected = [list(RFIDS.values())] if name == "fig1_scaling" else [[rfid] for rfid in RFIDS.values()]
    assert [rfid_lines(axis) for axis in fid_panels] == expected
    assert not any(rfid_lines(axis) for axis in axes if axis not in fid_panels)
    (legend,) = axes[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()].count(style.RFID) == 1


def test_fig1_curves_over_sizes(made: Path) -> None:
    points = points_of(made, "fig1_scaling")
    assert points["parameters"].tolist() == [1000] * 3 + [2000] * 3
    (axis,) = axes_of("fig1_scaling", points)
    for method in ("base", "cfg", "cca"):
        expected = points[points["method"] == method][["parameters", "fid"]].to_numpy()
        assert lines(axis)[style.METHODS[method]["label"]] == pytest.approx(expected)
    wanted = {"base": ("base", 0), "cfg": ("base", 1), "cca": ("cca_lambda=1", 0)}
    for method, pair in wanted.items():
        found = points[points["method"] == method]
        assert set(zip(found["finetune"], found["s"], strict=True)) == {pair}


@pytest.mark.parametrize(
    ("name", "curves"),
    [
        ("fig4_lambda_sweep", {"cfg": "CFG", "cca": "CCA"}),
        ("fig6_cca_cfg", {"cfg": "CFG", "cca+cfg": "CCA + CFG"}),
    ],
)
def test_trade_offs_draw_their_points(made: Path, name: str, curves: dict) -> None:
    points = points_of(made, name)
    for axis, (title, panel) in zip(axes_of(name, points), points.groupby("panel"), strict=True):
        assert axis.get_title() == title
        for method, label in curves.items():
            expected = panel[panel["method"] == method][["inception_score", "fid"]].to_numpy()
            assert lines(axis)[label] == pytest.approx(expected)
        start = panel[(panel["method"] == "cfg") & (panel["s"] == 0)][["inception_score", "fid"]]
        assert lines(axis)["no guidance"] == pytest.approx(start.to_numpy())
    if name == "fig4_lambda_sweep":
        written = [text.get_text() for text in axis.texts]
        assert written == ["0", "0.5", "1", "1", "3"]  # s of CFG, then λ of the objectives


def test_fig5_has_a_curve_for_every_lambda(made: Path) -> None:
    points = points_of(made, "fig5_lambda_cfg")
    axes = axes_of("fig5_lambda_cfg", points)
    places = [(title, metric) for title in MODELS.values() for metric in ("fid", "inception_score")]
    for axis, (title, metric) in zip(axes, places, strict=True):
        drawn = lines(axis)
        assert set(drawn) - {style.RFID} == {"CFG", "CCA + CFG, λ = 1", "CCA + CFG, λ = 3"}
        for label, lam in (("CCA + CFG, λ = 1", 1), ("CCA + CFG, λ = 3", 3)):
            rows = points[(points["panel"] == title) & (points["lam"] == lam)]
            assert drawn[label] == pytest.approx(rows[["s", metric]].to_numpy())


def test_fig_beta_reads_beta_from_the_objectives(made: Path) -> None:
    points = points_of(made, "fig_beta")
    assert points[points["method"] == "cca"]["beta"].tolist() == [0.02, 0.1] * 2
    axis = axes_of("fig_beta", points)[3]
    rows = points[points["panel"] == "Model-B"]
    expected = rows[rows["method"] == "cca"][["beta", "inception_score"]].to_numpy()
    assert lines(axis)["CCA, λ = 1"] == pytest.approx(expected)
    base = rows[rows["method"] == "base"]["inception_score"].item()
    assert lines(axis)["no guidance"][:, 1] == pytest.approx([base, base])
    with pytest.raises(CCAError, match="fig_beta: cca_lambda=1, cca_lambda=3 differ in more than beta"):
        panels = [{"model": "a", "finetunes": ["cca_lambda=1", "cca_lambda=3"]}]
        points_of(made, "fig_beta", panels=panels)


@pytest.mark.parametrize("name", ["fig4_lambda_sweep", "fig5_lambda_cfg", "fig_beta"])
def test_two_panels_of_one_model_are_two_panels(made: Path, name: str) -> None:
    (panel, _) = CONTENT[name]["panels"]
    once, twice = (points_of(made, name, panels=[panel] * count) for count in (1, 2))
    alone, both = axes_of(name, once), axes_of(name, twice)
    assert len(both) == 2 * len(alone)
    for axis, pattern in zip(both, 2 * alone, strict=True):
        drawn, wanted = lines(axis), lines(pattern)
        assert drawn.keys() == wanted.keys()
        assert all((drawn[label] == wanted[label]).all() for label in wanted)


def test_curves_of_one_lambda_are_two_with_names(made: Path) -> None:
    panel = {"model": "a", "cca": ["cca_lambda=1", "cca_beta=0.1", "dpo"], "scales": [0, 0.5, 1]}
    axis = axes_of("fig5_lambda_cfg", points_of(made, "fig5_lambda_cfg", panels=[panel]))[0]
    drawn = lines(axis)
    assert {"CFG", "cca_lambda=1", "cca_beta=0.1", "dpo"} <= drawn.keys()
    assert all(drawn[name][:, 0].tolist() == [0, 0.5, 1] for name in panel["cca"])
