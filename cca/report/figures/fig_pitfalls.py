"""How far each metric moves when one thing is done wrong: a row a mistake, a column a metric."""

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from cca.evaluate.protocol import METRICS
from cca.experiments import Experiment
from cca.files import read_json
from cca.pitfalls.plan import MEASURED
from cca.pitfalls.table import framed, is_right, noise
from cca.report import figures, style
from cca.report.measured import Measured
from cca.report.tables._readable import NAMES

FAR = 2.5
"""Marks are at the edge where they are so many times as far off as nine tenths of them."""
LOOKS: dict[str, dict[str, Any]] = {
    "worse": {"color": "#8C510A", "marker": "1", "mew": 1.5, "ms": 7, "label": "looks worse"},
    "better": {"color": "#332288", "marker": "2", "mew": 1.5, "ms": 7, "label": "looks better"},
    "same": {"color": "#707070", "marker": "h", "mfc": "white", "label": "within noise"},
}
"""Other colours and markers than those of `style.METHODS`, which are no part of this figure."""


class Figure(figures.Figure):
    """All of the tier's pitfalls."""

    def experiments(self) -> list[Experiment]:
        """None of its own: the measurements of section ``pitfalls``."""
        return []

    def files(self) -> list[Path]:
        """The measurements."""
        return [MEASURED]

    def points(self, measured: Measured) -> pd.DataFrame:
        """The rows of ``pitfalls.csv``: each metric, ``<metric>_change`` and ``<metric>_moved``."""
        return framed(read_json(measured.folder / MEASURED))

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """Rows by group; a line at the seeds' mean, a band of noise, a mark that says which way it moved.

        A mark far off the others is drawn at the edge, with its value.
        """
        rows = points[~is_right(points)].reset_index(drop=True)
        known = noise(points)
        places = np.arange(len(rows)) + 0.6 * (rows["group"] != rows["group"].shift()).cumsum()
        canvas = Canvas(figsize=(style.COLUMN_WIDTH, 0.9 + 0.165 * places.iloc[-1]), layout="constrained")
        axes = canvas.subplots(1, len(METRICS), sharey=True)
        for axis, metric in zip(axes, METRICS, strict=True):
            mean, reach = known.loc[metric, ["mean", "reach"]]
            axis.axvspan(mean - reach, mean + reach, color="#BBBBBB", alpha=0.6, lw=0)
            axis.axvline(mean, color="#000000", lw=0.8)
            low, high = _limits(axis, metric, rows[metric], mean)
            for place, value, moved in zip(places, rows[metric], rows[f"{metric}_moved"], strict=True):
                shown = float(np.clip(value, low, high))
                axis.plot(shown, place, ls="none", clip_on=False, **LOOKS[_direction(metric, moved)])
                if not np.isclose(shown, value):
                    inwards = 1 if value < shown else -1
                    side: dict[str, Any] = {
                        "xytext": (5 * inwards, 0),
                        "ha": "left" if inwards > 0 else "right",
                    }
                    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
                    axis.annotate(
                        text, (shown, place), textcoords="offset points", va="center", fontsize=7, **side
                    )
            axis.set_title(NAMES[metric])
            axis.tick_params(axis="y", length=0)
            axis.tick_params(axis="x", labelsize=7)
            axis.grid(visible=False, axis="x")
        axes[0].set_yticks(places, rows["name"])
        axes[0].set_ylim(places.iloc[-1] + 0.7, places.iloc[0] - 0.7)
        handles = [Line2D([], [], ls="none", **look) for look in LOOKS.values()]
        canvas.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
        return canvas


def _direction(metric: str, moved: int) -> str:
    if moved == 0:
        return "same"
    return "worse" if (moved > 0) == NAMES[metric].endswith("↓") else "better"


def _limits(axis: Axes, metric: str, values: pd.Series, mean: float) -> tuple[float, float]:
    """Scale the axis: logarithmic for distances; return the range in which marks are where they belong."""
    logarithmic = NAMES[metric].endswith("↓") and values.min() > 0 and mean > 0
    if logarithmic:
        axis.set_xscale("log")
    there, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    moves = there(values.dropna().to_numpy()) - there(mean)
    reach = FAR * np.quantile(np.abs(moves), 0.9) if len(moves) else 0
    ends = np.clip([moves.min(initial=0), moves.max(initial=0)], -reach, reach)
    padding = 0.08 * (ends[1] - ends[0]) or 0.1
    low, high, *edges = back(there(mean) + np.array([*ends, ends[0] - padding, ends[1] + padding]))
    axis.set_xlim(*edges)
    subs = (1, 3) if high > 10 * low else (1, 2, 5) if high > 5 * low else (1, 1.5, 2, 3, 5, 7)
    decades = logarithmic and high > 2 * low
    axis.xaxis.set_major_locator(LogLocator(subs=subs) if decades else MaxNLocator(3, steps=[1, 2, 5, 10]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")
    return float(low), float(high)
