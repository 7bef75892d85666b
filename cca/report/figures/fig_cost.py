"""What an image costs without and with guidance: images a second, forward passes, FLOPs."""

from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
from pydantic import Field

from cca import experiments
from cca.errors import CCAError
from cca.experiments import BASE, Experiment
from cca.files import read_json
from cca.report import figures, style
from cca.report.measured import Measured

METHODS = {"base": "guidance_free", "cfg": "guided"}
QUANTITIES = {
    "images_per_second": ("images/s ↑", 1),
    "passes_per_image": ("forward passes an image ↓", 1),
    "flops_per_image": ("MFLOP an image ↓", 1e-6),
}


class Figure(figures.Figure):
    """The models, as bars side by side."""

    models: list[str] = Field(min_length=1)

    def experiments(self) -> list[Experiment]:
        """The base models; their samples are not needed."""
        return [Experiment(model, BASE, 0, 0) for model in self.models]

    def files(self) -> list[Path]:
        """The measurements of cost, one job a model."""
        return [experiments.cost(model) for model in self.models]

    def points(self, measured: Measured) -> pd.DataFrame:
        """Columns model, parameters, method, s, each quantity, and the ratio of times guided / guidance-free.

        Raises:
            CCAError: a missing or incomplete measurement.
        """
        rows = []
        for model in self.models:
            path = measured.folder / experiments.cost(model)
            values = read_json(path)
            for method, name in METHODS.items():
                try:
                    row = {"parameters": values["parameters"], "method": method, **values[name]}
                    row |= {f"time_ratio_{key}": value for key, value in values["time_ratio"].items()}
                except KeyError as error:
                    raise CCAError(f"{path}: {error} is missing; delete it and measure again") from None
                rows.append({"model": measured.title(model), **row})
        return pd.DataFrame(rows)

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """A panel a quantity; whiskers from the slowest to the fastest repetition."""
        figure, axes = style.new_figure(len(QUANTITIES), height=2.6)
        models = points["model"].unique()
        for axis, (quantity, (name, unit)) in zip(axes[0], QUANTITIES.items(), strict=True):
            for offset, (method, bars) in zip((-0.2, 0.2), points.groupby("method", sort=False), strict=True):
                look, places = style.look(method), np.arange(len(models)) + offset
                heights = bars[quantity].to_numpy() * unit
                label = look["label"] + (" (also after CCA)" if method == "base" else "")
                drawn = axis.bar(places, heights, width=0.4, color=look["color"], label=label)
                names = [f"{height:.0f}" if height >= 100 else f"{height:.3g}" for height in heights]
                axis.bar_label(drawn, names, fontsize=7, padding=2)
                if f"{quantity}_min" in bars:
                    limits = bars[[f"{quantity}_min", f"{quantity}_max"]].to_numpy().T * unit
                    axis.errorbar(places, heights, yerr=abs(limits - heights), fmt="none", ecolor="#8C8C8C")
            axis.set_xticks(range(len(models)), models, fontsize=7)
            axis.set(ylabel=name)
            axis.grid(visible=False, axis="x")
        ratios = points.drop_duplicates("model")["time_ratio_median"]
        times = [f"{model}\ntime × {ratio:.2f}" for model, ratio in zip(models, ratios, strict=True)]
        axes[0, 0].set_xticks(range(len(models)), times, fontsize=7)
        style.legend(figure, title="whiskers: slowest and fastest repetition", title_fontsize=8)
        return figure
