"""Figure 1: FID against the number of parameters, without guidance, with CFG, and after CCA."""

from pathlib import Path

import matplotlib.figure
import pandas as pd
from pydantic import Field

from cca.experiments import BASE, Experiment
from cca.report import figures, style
from cca.report.measured import Measured
from cca.settings import Seeds, Settings


class Size(Settings):
    """One model, the scale of its CFG samples, and its CCA finetune."""

    model: str
    cfg_scale: float = Field(gt=0)
    cca: str

    def measurements(self) -> list[tuple[str, str, float]]:
        """Method, finetune and scale of its three points."""
        return [("base", BASE, 0), ("cfg", BASE, self.cfg_scale), ("cca", self.cca, 0)]


class Panel(Settings):
    """One family, from its smallest model to its largest."""

    title: str
    sizes: list[Size] = Field(min_length=1)


class Figure(figures.Figure):
    """A panel a family, each point over the same seeds."""

    seeds: Seeds = Field(min_length=1)
    panels: list[Panel] = Field(min_length=1)

    def experiments(self) -> list[Experiment]:
        """Three of every model and seed."""
        return [
            Experiment(size.model, finetune, seed, scale)
            for panel in self.panels
            for size in panel.sizes
            for _, finetune, scale in size.measurements()
            for seed in self.seeds
        ]

    def files(self) -> list[Path]:
        """The metrics, and the base models, whose parameters are counted."""
        models = dict.fromkeys(size.model for panel in self.panels for size in panel.sizes)
        return [*super().files(), *(Experiment(model, BASE, 0, 0).checkpoint for model in models)]

    def quality_of(self) -> list[str]:
        """All models."""
        return [size.model for panel in self.panels for size in panel.sizes]

    def points(self, measured: Measured) -> pd.DataFrame:
        """Columns panel_index, panel, method, model, parameters, finetune, s, rfid, metrics, deviations."""
        return pd.DataFrame(
            {
                "panel_index": index,
                "panel": panel.title,
                "method": method,
                "model": measured.title(size.model),
                "parameters": measured.parameters(size.model),
                "finetune": finetune,
                "s": scale,
                "rfid": measured.rfid(size.model),
                **measured.summary(size.model, finetune, self.seeds, scale),
            }
            for index, panel in enumerate(self.panels)
            for size in panel.sizes
            for method, finetune, scale in size.measurements()
        )

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """Three curves over the sizes; each model is a tick."""
        panels = figures.panels(points)
        figure, axes = style.new_figure(len(panels))
        for axis, (title, panel) in zip(axes[0], panels, strict=True):
            for method, curve in panel.groupby("method", sort=False):
                style.curve(axis, curve, "parameters", "fid", **style.look(method))
            style.rfid_lines(axis, panel["rfid"])
            axis.set(title=title, xlabel=style.NAMES["parameters"], ylabel=style.NAMES["fid"], xscale="log")
            axis.set_xticks(sorted(panel["parameters"].unique()))
            axis.xaxis.set_major_formatter(lambda count, _: short(count))
            axis.minorticks_off()
            style.log_y(axis)
        style.legend(figure)
        return figure


def short(count: float) -> str:
    """A number of parameters in three digits, e.g. ``343M``."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:g}"
