"""Figure 3 shows the images of the files, the same labels in every column."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import read_json, read_npz
from cca.report.figures.fig3_samples import grid

from .conftest import axes_of, model_of, points_of, settings, shard_of


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
    image = axes[0].get_images()[0]
    axes[0].figure.set_dpi(40)  # images are enlarged a little
    rendered = FigureCanvasAgg(axes[0].figure)
    rendered.draw()
    canvas = np.asarray(rendered.buffer_rgba())[::-1, :, :3]  # from below, as extents are
    left, bottom, right, top = (round(end) for end in image.get_window_extent().extents)
    drawn = canvas[bottom + 2 : top - 2, left + 2 : right - 2].reshape(-1, 3)
    assert set(map(tuple, drawn)) <= set(map(tuple, image.get_array().reshape(-1, 3)))  # no colour in between
    axes = axes_of("fig3_samples", points.assign(inception_score=np.nan))
    assert all(axis.get_title().endswith("\nIS -") for axis in axes)
    with pytest.raises(CCAError, match=r"shard_0.npz: 20 samples are too few for fig3's side of 5"):
        points_of(made, "fig3_samples", side=5)


def test_fig3_is_made_of_the_first_shards(made: Path) -> None:
    wanted = settings("fig3_samples")
    files = set(wanted.files(made))
    for model, finetune, scale in (("a", "base", 0), ("a", "cca_lambda=3", 0), ("b", "base", 0.5)):
        experiment = Experiment(model, finetune, 1, scale)
        assert {shard_of(made, experiment), made / experiment.metrics} <= files
    shard_of(made, Experiment("a", "base", 1, 0)).rename(made / "away.npz")
    try:
        with pytest.raises(CCAError, match=r"a/base/seed=1/s=0/samples/2/shard_0.npz: no such file"):
            points_of(made, "fig3_samples")
    finally:
        (made / "away.npz").rename(shard_of(made, Experiment("a", "base", 1, 0)))


def test_a_grid_separates_its_images_by_white_lines() -> None:
    drawn = grid(np.zeros((4, 32, 32, 3), dtype=np.uint8))
    assert drawn.shape == (66, 66, 3)
    assert (drawn[32:34] == 255).all() and (drawn[:, 32:34] == 255).all()
    assert (drawn == 0).all(axis=2).sum() == 4 * 32 * 32


def test_two_rows_of_one_model_are_two_rows(made: Path) -> None:
    rows = [{"model": "a", "cca": f"cca_lambda={lam}", "cfg_scale": 0.5} for lam in (1, 3)]
    axes = axes_of("fig3_samples", points_of(made, "fig3_samples", rows=rows))
    assert [axis.get_title().partition("\n")[0] for axis in axes if "CCA" in axis.get_title()] == [
        "CCA, λ = 1",
        "CCA, λ = 3",
    ]
