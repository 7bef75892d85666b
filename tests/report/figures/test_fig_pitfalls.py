"""The figure of pitfalls: a mark for each mistake."""

from pathlib import Path

import numpy as np
import pytest

from cca.evaluate.protocol import METRICS
from cca.pitfalls.table import framed
from cca.report import style
from cca.report.figures import fig_pitfalls

from .conftest import axes_of, points_of


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
