"""One look for all figures: a colour and a marker for each method, type readable at column width."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

COLUMN_WIDTH = 5.5  # inches, the text width of the paper

# Okabe-Ito colours, told apart by colour-blind readers; markers differ too.
METHODS: dict[str, dict[str, Any]] = {
    "base": {"color": "#000000", "marker": "s", "label": "no guidance"},
    "cfg": {"color": "#0072B2", "marker": "o", "label": "CFG"},
    "cca": {"color": "#D55E00", "marker": "^", "label": "CCA"},
    "cca+cfg": {"color": "#CC79A7", "marker": "D", "label": "CCA + CFG"},
    "dpo": {"color": "#009E73", "marker": "v", "label": "DPO"},
    "unlearn": {"color": "#E69F00", "marker": "P", "label": "Unlearn"},
    "sft": {"color": "#56B4E9", "marker": "X", "label": "SFT"},
    "ddo": {"color": "#8C8C8C", "marker": "*", "label": "DDO"},
}

SYMBOLS = {"alpha": "α", "beta": "β", "lam": "λ"}
"""How parameters of objectives are written."""

NAMES = {
    "fid": "FID ↓",
    "inception_score": "Inception Score ↑",
    "s": "guidance scale s",
    "beta": "β",
    "parameters": "parameters",
}
"""Axis names; the arrow points to what is better."""

RFID = "rFID of decoded\ntraining images"
"""What the dashed line in figures of FID is called."""

RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "lines.markersize": 5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "cca",
}


def look(method: str) -> dict:
    """Colour, marker and label of a method; grey crosses for one that has none of its own."""
    return METHODS.get(method, {"color": "#5A5A5A", "marker": "x", "label": method})


def shades(color: str, count: int) -> list[tuple[float, ...]]:
    """``count`` colours from a light to a dark one, of the same hue."""
    rgb = np.array(to_rgb(color))
    lights = 1 - (1 - rgb) * 0.55
    darks = rgb * 0.55
    return [tuple(lights + (darks - lights) * step) for step in np.linspace(0, 1, count)]


def new_figure(columns: int, rows: int = 1, height: float = 2.8) -> tuple[Figure, np.ndarray]:
    """A figure at column width, each row ``height`` inches high, and its axes (rows, columns)."""
    width = COLUMN_WIDTH if columns > 1 else 0.72 * COLUMN_WIDTH
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def curve(axis: Axes, points: pd.DataFrame, x: str, y: str, **look: Any) -> None:
    """A line through the points, with a standard deviation to either side where they have one."""
    axis.plot(points[x], points[y], **look)
    bars: dict[str, Any] = {f"{side}err": points.get(f"{name}_std") for side, name in (("x", x), ("y", y))}
    if any(deviation is not None for deviation in bars.values()):
        axis.errorbar(
            points[x], points[y], **bars, fmt="none", ecolor=look["color"], elinewidth=0.8, alpha=0.7
        )


def rfid_lines(axis: Axes, rfids: pd.Series) -> None:
    """A thin line at each tokenizer's rFID: what the codes of the training images score."""
    for rfid in rfids.unique():
        axis.axhline(rfid, color="#8C8C8C", lw=0.8, ls=(0, (6, 3)), zorder=1, label=RFID)


def annotate(axis: Axes, values: pd.Series, xs: pd.Series, ys: pd.Series, color: str, below: bool) -> None:
    """Small numbers beside the points: to the right and above, or to the left and below."""
    place: dict[str, Any] = {"xytext": (-4, -4), "ha": "right", "va": "top"} if below else {"xytext": (4, 4)}
    halo = [patheffects.withStroke(linewidth=1.5, foreground="white")]
    for value, x, y in zip(values, xs, ys, strict=True):
        text = axis.annotate(f"{value:g}", (x, y), textcoords="offset points", **place)
        text.set(fontsize=7, color=color, path_effects=halo)


def log_y(axis: Axes) -> None:
    """Make the vertical axis logarithmic, after all is drawn; enough ticks for any range, plain numbers."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    locator = MaxNLocator(5, steps=[1, 2, 5, 10]) if high < 4 * low else LogLocator(subs=(1, 2, 3, 5, 7))
    axis.yaxis.set_major_locator(locator)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(NullLocator())


def legend(figure: Figure, ncols: int = 4, **options: Any) -> None:
    """One legend of ``ncols`` columns, of two in a narrow figure, above all panels, each label once."""
    entries: dict[str, Artist] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside upper center",
        ncols=ncols if figure.get_figwidth() >= COLUMN_WIDTH else 2,
        frameon=False,
        **options,
    )
