"""FID and IS of CCA over β at one λ, guidance-free."""

import matplotlib.figure
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from cca.errors import CCAError
from cca.experiments import BASE
from cca.report import style
from cca.report.figures import _curves
from cca.report.figures._curves import Measurement
from cca.report.measured import Measured


class Panel(_curves.Panel):
    """One model: its finetunes in the order of β; β and λ are read from their objectives."""

    finetunes: list[str] = Field(min_length=2)

    def measurements(self) -> list[Measurement]:
        """The model as it is, and each finetune."""
        tuned = [Measurement("cca", self.model, finetune, 0) for finetune in self.finetunes]
        return [Measurement("base", self.model, BASE, 0), *tuned]


class Figure(_curves.CurveFigure[Panel]):
    """Two panels a model."""

    def points(self, measured: Measured) -> pd.DataFrame:
        """As of every figure of curves.

        Raises:
            CCAError: the finetunes of a panel differ in more than β.
        """
        for panel in self.panels:
            others = {
                str({key: value for key, value in measured.training(name).items() if key != "beta"})
                for name in panel.finetunes
            }
            if len(others) > 1:
                raise CCAError(f"fig_beta: {', '.join(panel.finetunes)} differ in more than beta")
        return super().points(measured)

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """A curve over β, and a line at the level of the model as it is."""

        def draw_panel(axis: Axes, panel: pd.DataFrame, metric: str) -> None:
            base, curve = panel[panel["method"] == "base"], panel[panel["method"] == "cca"]
            look = style.look("base")
            axis.axhline(base[metric].item(), color=look["color"], label=look["label"], ls="--", lw=1)
            if f"{metric}_std" in base:
                low, high = (base[metric].item() + sign * base[f"{metric}_std"].item() for sign in (-1, 1))
                axis.axhspan(low, high, color=look["color"], alpha=0.15, lw=0)
            look = style.look("cca")
            label = f"{look['label']}, λ = {curve['lam'].iloc[0]:g}"
            style.curve(axis, curve, "beta", metric, **look | {"label": label})
            axis.set(xscale="log")
            axis.set_xticks(curve["beta"], [f"{beta:g}" for beta in curve["beta"]], fontsize=7)
            axis.minorticks_off()

        return _curves.draw_metrics(points, "beta", draw_panel)
