"""Figure 4: the trade-off of FID and IS, CCA over λ (guidance-free) beside CFG over s."""

import matplotlib.figure
import pandas as pd
from pydantic import Field

from cca.experiments import BASE, Experiment
from cca.report import figures, style
from cca.report.measured import Measured
from cca.settings import Settings


class Panel(Settings):
    """One model: the finetunes of the CCA curve, in the order of λ, and the scales of the CFG curve."""

    model: str
    cca: list[str] = Field(min_length=2)
    cfg: list[float] = Field(min_length=2)


class Figure(figures.Figure):
    """A panel a model."""

    seeds: list[int] = Field(min_length=1)
    panels: list[Panel] = Field(min_length=1)

    def experiments(self) -> list[Experiment]:
        """Guidance-free samples of every λ, and the base model at every scale."""
        return [
            Experiment(panel.model, finetune, seed, scale)
            for panel in self.panels
            for finetune, scale in self._curve(panel)
            for seed in self.seeds
        ]

    @staticmethod
    def _curve(panel: Panel) -> list[tuple[str, float]]:
        return [(BASE, scale) for scale in panel.cfg] + [(name, 0.0) for name in panel.cca]

    def points(self, measured: Measured) -> pd.DataFrame:
        """Columns panel, method, finetune, s, and each metric with its deviation over seeds."""
        return pd.DataFrame(
            {
                "panel": measured.title(panel.model),
                "method": "cfg" if finetune == BASE else "cca",
                "finetune": finetune,
                "s": scale,
                **measured.summary(panel.model, finetune, self.seeds, scale),
            }
            for panel in self.panels
            for finetune, scale in self._curve(panel)
        )

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """IS on the horizontal axis, FID on the vertical one; the best corner is lower right."""
        figure, axes = style.new_figure(points["panel"].nunique())
        for axis, (title, panel) in zip(axes, points.groupby("panel", sort=False), strict=True):
            for method, curve in panel.groupby("method", sort=False):
                look = style.METHODS[method]
                axis.plot(curve["inception_score"], curve["fid"], **look)
                for _, point in curve.iterrows():
                    name = f"{point['s']:g}" if method == "cfg" else point["finetune"].rpartition("=")[2]
                    axis.annotate(
                        name,
                        (point["inception_score"], point["fid"]),
                        textcoords="offset points",
                        xytext=(4, 4),
                        fontsize=7,
                        color=look["color"],
                    )
            start = panel[(panel["method"] == "cfg") & (panel["s"] == 0)]
            axis.plot(
                start["inception_score"], start["fid"], linestyle="none", zorder=3, **style.METHODS["base"]
            )
            axis.set(title=title, xlabel="Inception Score ↑", ylabel="FID ↓", yscale="log")
            axis.legend(title="number: s (CFG), λ (CCA)", title_fontsize=7, frameon=False)
        return figure
