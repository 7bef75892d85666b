"""Figure 5: FID and IS against the guidance scale, after CCA with several λ and before."""

import matplotlib.figure
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from cca.experiments import BASE
from cca.report import style
from cca.report.figures import _curves
from cca.report.figures._curves import Measurement


class Panel(_curves.Panel):
    """One model: its finetunes in the order of λ, and the scales of every curve."""

    cca: list[str] = Field(min_length=1)
    scales: list[float] = Field(min_length=2)

    def measurements(self) -> list[Measurement]:
        """A curve over the scales for the base model, and one for each finetune."""
        curves = [("cfg", BASE), *(("cca+cfg", finetune) for finetune in self.cca)]
        return [
            Measurement(method, self.model, finetune, scale)
            for method, finetune in curves
            for scale in self.scales
        ]


class Figure(_curves.CurveFigure[Panel]):
    """Two panels a model."""

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """A curve a λ, darker with λ, and the one without CCA."""
        lams = sorted(points["lam"].dropna().unique())
        colors = dict(zip(lams, style.shades(style.look("cca+cfg")["color"], len(lams)), strict=True))

        def draw_panel(axis: Axes, panel: pd.DataFrame, metric: str) -> None:
            for (method, lam), curve in panel.groupby(["method", "lam"], sort=False, dropna=False):
                look = style.look(method)
                if method == "cca+cfg":
                    look = look | {"color": colors[lam], "label": f"{look['label']}, λ = {lam:g}"}
                style.curve(axis, curve, "s", metric, **look)

        return _curves.draw_metrics(points, "s", draw_panel)
