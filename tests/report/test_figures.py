"""Every figure from made-up measurements: its CSV says what the files say, its drawing what the CSV says."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch import nn

from cca import checkpoints, experiments
from cca.errors import CCAError
from cca.evaluate.protocol import METRICS
from cca.experiments import Experiment
from cca.files import read_json, read_npz, write_json, write_npz
from cca.pitfalls.plan import MEASURED
from cca.pitfalls.table import framed
from cca.report import figures, style
from cca.report.figures import fig_pitfalls
from cca.report.figures.fig3_samples import grid
from cca.report.measured import Measured

MODELS = {"a": "Model-A", "b": "Model-B"}
OBJECTIVES = {
    "cca_lambda=1": {"name": "cca", "lam": 1},
    "cca_lambda=3": {"name": "cca", "lam": 3},
    "cca_beta=0.1": {"name": "cca", "lam": 1, "beta": 0.1},
    "dpo": {"name": "dpo"},
}
SCALES = [0, 0.5, 1]
SEEDS = [0, 1, 2]
CONTENT = {
    "fig1_scaling": {
        "seeds": SEEDS,
        "panels": [
            {
                "title": "Family",
                "sizes": [{"model": m, "cfg_scale": 1, "cca": "cca_lambda=1"} for m in MODELS],
            }
        ],
    },
    "fig3_samples": {
        "seed": 1,
        "side": 3,
        "rows": [{"model": model, "cca": "cca_lambda=3", "cfg_scale": 0.5} for model in MODELS],
    },
    "fig4_lambda_sweep": {
        "seeds": SEEDS,
        "panels": [{"model": m, "cca": ["cca_lambda=1", "cca_lambda=3"], "cfg": SCALES} for m in MODELS],
    },
    "fig5_lambda_cfg": {
        "seeds": SEEDS,
        "panels": [{"model": m, "cca": ["cca_lambda=1", "cca_lambda=3"], "scales": SCALES} for m in MODELS],
    },
    "fig6_cca_cfg": {
        "seeds": SEEDS,
        "panels": [
            {"model": m, "finetune": "cca_lambda=1", "cca_cfg": [0, 0.5], "cfg": SCALES} for m in MODELS
        ],
    },
    "fig_beta": {
        "seeds": SEEDS,
        "panels": [{"model": m, "finetunes": ["cca_lambda=1", "cca_beta=0.1"]} for m in MODELS],
    },
    "fig_dpo_collapse": {
        "seeds": SEEDS,
        "panels": [{"model": m, "finetunes": ["cca_lambda=1", "dpo"]} for m in MODELS],
    },
    "fig_cost": {"models": list(MODELS)},
    "fig_pitfalls": {},
}
TOKENIZERS = {"a": "vq", "b": "multiscale"}
RFIDS = {"a": 0.25, "b": 0.75}
METRIC_FIGURES = ["fig1_scaling", "fig4_lambda_sweep", "fig5_lambda_cfg", "fig6_cca_cfg", "fig_beta"]


def shard_of(results: Path, experiment: Experiment, shards: int = 2) -> Path:
    return results / experiment.metrics.parent / f"samples/{shards}/shard_0.npz"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results in which no two numbers are the same."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(0)
    for model, tokenizer in TOKENIZERS.items():
        write_json(folder / experiments.quality(tokenizer), {"rfid": RFIDS[model], "num_images": 9})
    for number, model in enumerate(MODELS):
        labels = rng.integers(10, size=20)
        for finetune in ["base", *OBJECTIVES]:
            for seed in SEEDS:
                for scale in SCALES:
                    experiment = Experiment(model, finetune, seed, scale)
                    names = ["fid", "sfid", "inception_score", "precision", "recall"]
                    values = dict(zip(names, (1 + rng.random(5)).tolist(), strict=True))
                    write_json(folder / experiment.metrics, values | {"num_samples": 123})
                    pixels = rng.integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
                    write_npz(shard_of(folder, experiment), arr_0=pixels, labels=labels)
                if finetune != "base":
                    log = pd.DataFrame(rng.normal(size=(7, 2)), columns=["g_pos", "g_neg"])
                    path = folder / Experiment(model, finetune, seed, 0).log
                    path.parent.mkdir(exist_ok=True)
                    log.assign(step=range(7), loss=0.0).to_csv(path, index=False)
        checkpoint = Experiment(model, "base", 0, 0).checkpoint
        checkpoints.save(folder / checkpoint, nn.Linear(1, 1), {"parameters": 1000 * (number + 1)})
        cost = {"parameters": 1000 * (number + 1), "time_ratio": {"median": 1.9, "min": 1.8, "max": 2.1}}
        for name in ("guidance_free", "guided"):
            low, middle, high = np.sort(rng.random(3)).tolist()
            speed = {"images_per_second": middle, "images_per_second_min": low, "images_per_second_max": high}
            counts = {"passes_per_image": rng.random(), "flops_per_image": 1e6 * rng.random()}
            cost[name] = {"s": float(name == "guided"), **speed, **counts}
        write_json(folder / experiments.cost(model), cost)
    groups = ["right", "noise", "noise", "file", "file", "features"]
    spoiled = [{"group": group, "name": f"row {index}"} for index, group in enumerate(groups)]
    for row in spoiled:
        row |= dict(zip(METRICS, (1 + rng.random(len(METRICS))).tolist(), strict=True))
    write_json(folder / MEASURED, spoiled)
    return folder


def settings(name: str, **changes: object) -> figures.FigureSettings:
    content = CONTENT[name] | changes
    return figures.FigureSettings(
        name=name,
        content=content,
        benchmark="made-up",
        titles=MODELS,
        objectives=OBJECTIVES,
        tokenizers=TOKENIZERS,
    )


def points_of(made: Path, name: str, **changes: object) -> pd.DataFrame:
    """Points as they are read back from the CSV."""
    wanted = settings(name, **changes)
    text = wanted.figure.points(Measured(made, wanted)).to_csv(index=False, float_format="%.6g")
    return pd.read_csv(io.StringIO(text))


def axes_of(name: str, points: pd.DataFrame) -> list[Axes]:
    return settings(name).figure.draw(points).axes


def lines(axis: Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in axis.get_lines()}


def bars(axis: Axes) -> int:
    return sum(
        len(collection.get_segments())
        for collection in axis.collections
        if isinstance(collection, LineCollection)
    )


def model_of(title: str) -> str:
    return next(model for model, printed in MODELS.items() if printed == title.partition(" (")[0])


@pytest.mark.parametrize("name", CONTENT)
def test_every_figure_is_made_of_files_that_it_names(made: Path, tmp_path: Path, name: str) -> None:
    report = figures.run(settings(name), results=made, out=tmp_path / f"{name}.pdf")
    assert len(pd.read_csv(tmp_path / f"{name}.csv")) == report["points"] > 0
    assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    files = settings(name).files(made)
    assert files and all(path.is_file() for path in files)
    for path in set(files):
        hidden = path.rename(path.with_suffix(".hidden"))
        with pytest.raises(CCAError, match=f"{path.name}: no such file") as error:
            points_of(made, name)
        assert "\n" not in str(error.value)
        hidden.rename(path)


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


def rfid_lines(axis: Axes) -> list[float]:
    return [line.get_ydata()[0] for line in axis.get_lines() if line.get_label() == style.RFID]


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


def test_fig3_shows_the_same_labels_in_every_column_and_the_images_of_the_files(made: Path) -> None:
    points = points_of(made, "fig3_samples")
    axes = axes_of("fig3_samples", points)
    assert len(axes) == 6 and len(points) == 6 * 9
    groups = points.groupby(["panel", "method"], sort=False)
    for axis, ((title, method), panel) in zip(axes, groups, strict=True):
        base = points[(points["panel"] == title) & (points["method"] == "base")]
        for column in ("place", "sample", "label"):
            assert panel[column].tolist() == base[column].tolist()
        assert sorted(panel["sample"]) == list(range(9)) and panel["label"].is_monotonic_increasing
        experiment = {
            "base": Experiment(model_of(title), "base", 1, 0),
            "cca": Experiment(model_of(title), "cca_lambda=3", 1, 0),
            "cfg": Experiment(model_of(title), "base", 1, 0.5),
        }[method]
        shard = read_npz(shard_of(made, experiment))
        assert shard["labels"][panel["sample"]].tolist() == panel["label"].tolist()
        shown = axis.get_images()[0].get_array()
        for place, sample in zip(panel["place"], panel["sample"], strict=True):
            row, column = (9 * step for step in divmod(place, 3))
            assert (shown[row : row + 8, column : column + 8] == shard["arr_0"][sample]).all()
        score = read_json(made / experiment.metrics)["inception_score"]
        assert axis.get_title().endswith(f"IS {score:.2f}")
    axes = axes_of("fig3_samples", points.assign(inception_score=np.nan))
    assert all(axis.get_title().endswith("\nIS -") for axis in axes)
    with pytest.raises(CCAError, match=r"shard_0.npz: 20 samples are too few for fig3's side of 5"):
        points_of(made, "fig3_samples", side=5)


def test_fig3_shows_the_samples_made_last(made: Path) -> None:
    experiment = Experiment("a", "base", 1, 0)
    known = shard_of(made, experiment)
    other = shard_of(made, experiment, shards=10)
    write_npz(other, **read_npz(known))
    for newest, older in ((known, other), (other, known)):
        os.utime(older, (1, 1))
        os.utime(newest, (2, 2))
        assert set(points_of(made, "fig3_samples").query("panel == 'Model-A'")["shard"]) > {str(newest)}
        assert newest in settings("fig3_samples").files(made)
        assert older not in settings("fig3_samples").files(made)
    other.unlink()
    assert not [path for path in settings("fig3_samples").figure.files() if path.suffix == ".npz"]


def test_a_grid_separates_its_images_by_white_lines() -> None:
    drawn = grid(np.zeros((4, 32, 32, 3), dtype=np.uint8))
    assert drawn.shape == (66, 66, 3)
    assert (drawn[32:34] == 255).all() and (drawn[:, 32:34] == 255).all()
    assert (drawn == 0).all(axis=2).sum() == 4 * 32 * 32


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


def test_fig_dpo_collapse_draws_the_logs(made: Path) -> None:
    points = points_of(made, "fig_dpo_collapse")
    axes = axes_of("fig_dpo_collapse", points)
    for row, model in enumerate(MODELS):
        for axis, side in zip(axes[2 * row : 2 * row + 2], ("g_pos", "g_neg"), strict=True):
            for finetune, label in (("cca_lambda=1", "CCA (β = 0.02, λ = 1)"), ("dpo", "DPO (β = 0.02)")):
                logs = [pd.read_csv(made / Experiment(model, finetune, seed, 0).log)[side] for seed in SEEDS]
                drawn = lines(axis)[label]
                assert drawn[:, 0].tolist() == list(range(7))
                assert drawn[:, 1] == pytest.approx(np.mean(logs, axis=0), rel=1e-4, abs=1e-5)
                rows = points[(points["panel"] == MODELS[model]) & (points["finetune"] == finetune)]
                deviation = np.std(logs, axis=0, ddof=1)
                assert rows[f"{side}_std"].to_numpy() == pytest.approx(deviation, rel=1e-4, abs=1e-5)
    assert set(points["method"]) == {"cca", "dpo"}
    one = points_of(made, "fig_dpo_collapse", seeds=[2])
    log = pd.read_csv(made / Experiment("a", "dpo", 2, 0).log)
    raw = one[(one["panel"] == "Model-A") & (one["finetune"] == "dpo")]["g_pos"]
    assert raw.to_numpy() == pytest.approx(log["g_pos"].to_numpy(), rel=1e-4, abs=1e-5)


def test_a_log_without_the_columns_is_one_line(made: Path) -> None:
    path = made / Experiment("a", "dpo", 0, 0).log
    content = path.read_text()
    path.write_text("step,loss\n0,1\n")
    with pytest.raises(CCAError, match=r"model.log.csv: column 'g_pos' is missing; delete it and finetune"):
        points_of(made, "fig_dpo_collapse")
    path.write_text(content)


def test_fig_cost_draws_what_was_measured(made: Path) -> None:
    points = points_of(made, "fig_cost")
    axes = axes_of("fig_cost", points)
    for axis, key, unit in zip(
        axes, ("images_per_second", "passes_per_image", "flops_per_image"), (1, 1, 1e-6), strict=True
    ):
        heights = [patch.get_height() for patch in axis.patches]
        costs = [read_json(made / experiments.cost(model)) for model in MODELS]
        expected = [cost[name][key] * unit for name in ("guidance_free", "guided") for cost in costs]
        assert heights == pytest.approx(expected, rel=1e-5)
    path = made / experiments.cost("a")
    whole = read_json(path)
    write_json(path, {key: value for key, value in whole.items() if key != "guided"})
    with pytest.raises(CCAError, match=r"cost.json: 'guided' is missing; delete it and measure again"):
        points_of(made, "fig_cost")
    write_json(path, whole)


def test_fig_pitfalls_draws_a_mark_a_mistake_and_says_which_way_it_moved(made: Path) -> None:
    points = points_of(made, "fig_pitfalls")
    axes = axes_of("fig_pitfalls", points)
    for axis, metric in zip(axes, METRICS, strict=True):
        line, *marks = axis.get_lines()
        assert list(line.get_xdata()) == pytest.approx([points[metric][:3].mean()] * 2)
        assert [mark.get_xdata()[0] for mark in marks] == points[metric][3:].tolist()
        noise = 4.3027 * (4 / 3) ** 0.5 * points[metric][:3].std()  # t(2) at 0.975
        better = -1 if metric in ("fid", "sfid") else 1
        changes = better * points[f"{metric}_change"][3:]
        looks = ["better" if change > noise else "worse" if change < -noise else "same" for change in changes]
        assert [mark.get_marker() for mark in marks] == [fig_pitfalls.LOOKS[name]["marker"] for name in looks]
    names = [label.get_text() for label in axes[0].get_yticklabels()]
    assert names == points["name"][3:].tolist()


def test_fig_pitfalls_keeps_a_mark_far_off_at_the_edge_and_writes_its_value() -> None:
    rows = [{"group": "noise", "name": "seed", **dict.fromkeys(METRICS, 1.01)}]
    rows += [{"group": "file", "name": f"{x}", **dict.fromkeys(METRICS, x)} for x in np.linspace(1, 2, 20)]
    rows += [{"group": "file", "name": "far", **dict.fromkeys(METRICS, 500.0)}]
    right = {"group": "right", "name": "right", **dict.fromkeys(METRICS, 1.0)}
    for axis in axes_of("fig_pitfalls", framed([right, *rows])):
        low, high = axis.get_xlim()
        marks = [line.get_xdata()[0] for line in axis.get_lines()[1:]]
        assert marks[:-1] == pytest.approx(np.linspace(1, 2, 20))
        assert low < 1 and 2 < marks[-1] < high < 10
        assert [text.get_text() for text in axis.texts] == ["500"]


def test_colours_and_markers_of_fig_pitfalls_are_no_methods() -> None:
    for key in ("color", "marker"):
        own = {look[key] for look in fig_pitfalls.LOOKS.values()}
        assert len(own) == 3 and own.isdisjoint(look[key] for look in style.METHODS.values())


def test_methods_differ_in_colour_and_in_marker() -> None:
    for key in ("color", "marker", "label"):
        values = [look[key] for look in style.METHODS.values()]
        assert len(set(values)) == len(values)
    assert style.look("mine")["label"] == "mine"
