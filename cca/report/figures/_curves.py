"""What figures of metrics along curves share: panels of measurements, their points, their drawing."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import matplotlib.figure
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from cca.experiments import Experiment
from cca.report import figures, style
from cca.report.measured import Measured
from cca.settings import Seeds, Settings


class Measurement(NamedTuple):
    """One point of a curve: the method that it stands for, and what is sampled."""

    method: str
    model: str
    finetune: str
    scale: float


class Panel(Settings, ABC):
    """A panel of a figure, or a row of panels of one model."""

    model: str

    def title(self, measured: Measured) -> str:
        """What is printed above it."""
        return measured.title(self.model)

    @abstractmethod
    def measurements(self) -> list[Measurement]:
        """Its points, curve by curve, in the order of the line."""


P = TypeVar("P", bound=Panel)


class CurveFigure(figures.Figure, Generic[P]):
    """A figure of panels of measurements, each over the same seeds."""

    seeds: Seeds = Field(min_length=1)
    panels: list[P] = Field(min_length=1)

    def experiments(self) -> list[Experiment]:
        """Every measurement with every seed."""
        return [
            Experiment(point.model, point.finetune, seed, point.scale)
            for panel in self.panels
            for point in panel.measurements()
            for seed in self.seeds
        ]

    def quality_of(self) -> list[str]:
        """The models of the panels."""
        return [panel.model for panel in self.panels]

    def points(self, measured: Measured) -> pd.DataFrame:
        """Columns panel_index, panel, method, model, finetune, lam, beta, s, rfid, metrics, deviations."""
        rows = []
        for index, panel in enumerate(self.panels):
            for point in panel.measurements():
                objective = measured.objective(point.finetune)
                rows.append(
                    {
                        "panel_index": index,
                        "panel": panel.title(measured),
                        "method": point.method,
                        "model": point.model,
                        "finetune": point.finetune,
                        "lam": objective.get("lam", float("nan")),
                        "beta": objective.get("beta", float("nan")),
                        "s": point.scale,
                        "rfid": measured.rfid(point.model),
                        **measured.summary(point.model, point.finetune, self.seeds, point.scale),
                    }
                )
        return pd.DataFrame(rows)


def draw_trade_off(
    points: pd.DataFrame, names: dict[str, str], starts: dict[str, str], note: str
) -> matplotlib.figure.Figure:
    """FID against Inception Score, a panel a model; the best corner is lower right.

    Args:
        names: for each method, the column whose value is written beside its points.
        starts: for each method whose points at s = 0 belong to another one, that other one.
        note: title of the legend.
    """
    panels = figures.panels(points)
    figure, axes = style.new_figure(len(panels))
    for axis, (title, panel) in zip(axes[0], panels, strict=True):
        for method, curve in panel.groupby("method", sort=False):
            look = style.look(method)
            style.curve(axis, curve, "inception_score", "fid", **look)
            style.annotate(
                axis,
                curve[names[method]],
                curve["inception_score"],
                curve["fid"],
                color=look["color"],
                below=method == "cfg",  # whose FID at equal Inception Score is mostly the lower one
            )
        for method, other in starts.items():
            start = panel[(panel["method"] == method) & (panel["s"] == 0)]
            axis.plot(start["inception_score"], start["fid"], ls="none", zorder=3, **style.look(other))
        style.rfid_lines(axis, panel["rfid"])
        axis.margins(x=0.12)  # room for the numbers of the outermost points
        axis.set(title=title, xlabel=style.NAMES["inception_score"], ylabel=style.NAMES["fid"])
        style.log_y(axis)
    style.legend(figure, title=note, title_fontsize=8)
    return figure


def draw_metrics(
    points: pd.DataFrame, x: str, draw_panel: Callable[[Axes, pd.DataFrame, str], None]
) -> matplotlib.figure.Figure:
    """FID, logarithmic, and Inception Score, a row a model; ``draw_panel(axis, rows, metric)`` draws each."""
    panels = figures.panels(points)
    figure, axes = style.new_figure(columns=2, rows=len(panels), height=2.3)
    for row, (title, panel) in zip(axes, panels, strict=True):
        for axis, metric in zip(row, ("fid", "inception_score"), strict=True):
            draw_panel(axis, panel, metric)
            if metric == "fid":
                style.rfid_lines(axis, panel["rfid"])
                style.log_y(axis)
            axis.set(title=title, xlabel=style.NAMES[x], ylabel=style.NAMES[metric])
    style.legend(figure)
    return figure
