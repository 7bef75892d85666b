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
        """A curve a finetune, darker with λ, and the one without CCA; those of one λ have their names."""
        tuned = points[points["finetune"] != BASE].drop_duplicates("finetune").sort_values("lam")
        common = style.look("cca+cfg")
        colors = style.shades(common["color"], len(tuned))
        looks = {
            name: {
                "color": color,
                "label": name if same or pd.isna(lam) else f"{common['label']}, λ = {lam:g}",
            }
            for name, lam, same, color in zip(
                tuned["finetune"], tuned["lam"], tuned["lam"].duplicated(keep=False), colors, strict=True
            )
        }

        def draw_panel(axis: Axes, panel: pd.DataFrame, metric: str) -> None:
            for (method, finetune), curve in panel.groupby(["method", "finetune"], sort=False):
                style.curve(axis, curve, "s", metric, **style.look(method) | looks.get(finetune, {}))

        return _curves.draw_metrics(points, "s", draw_panel)
