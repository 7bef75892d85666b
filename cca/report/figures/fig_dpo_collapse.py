"""What finetuning does to the log-likelihood of positives and negatives, objective by objective.

DPO asks only for a difference, so it lowers both, the positives' too: why it collapses.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.figure
import pandas as pd
from pydantic import Field

from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import require
from cca.objectives import contrasts_samples
from cca.report import figures, style
from cca.report.measured import Measured
from cca.settings import Seeds, Settings

if TYPE_CHECKING:
    from cca.config import Tier

SIDES = {"g_pos": "positives", "g_neg": "negatives"}
OWN = ",\nnegatives: own samples"
"""Of an objective whose negatives are the model's samples of the same label, not images under another."""


class Panel(Settings):
    """One model and its finetunes."""

    model: str
    finetunes: list[str] = Field(min_length=1)


class Figure(figures.Figure):
    """Two panels a model."""

    seeds: Seeds = Field(min_length=1)
    panels: list[Panel] = Field(min_length=1)

    def experiments(self) -> list[Experiment]:
        """Every finetune and seed; their samples are not needed."""
        return [experiment for _, experiment in self._curves()]

    def _curves(self) -> list[tuple[int, Experiment]]:
        return [
            (index, Experiment(panel.model, finetune, seed, 0))
            for index, panel in enumerate(self.panels)
            for finetune in panel.finetunes
            for seed in self.seeds
        ]

    def check(self, tier: "Tier") -> None:
        """Raise a `CCAError` where a finetune is imported: it has no log."""
        for experiment in self.experiments():
            if tier.finetunes[experiment.finetune].imported:
                raise CCAError(f"fig_dpo_collapse: '{experiment.finetune}' is imported, and so has no log")

    def files(self) -> list[Path]:
        """The logs of finetuning."""
        return [experiment.log for experiment in self.experiments()]

    def points(self, measured: Measured) -> pd.DataFrame:
        """Columns panel_index, panel, method, label, finetune, step, g_pos, g_neg, and their deviations.

        A row a step, as logged: means over the step's pairs that have a true negative, not smoothed.

        Raises:
            CCAError: a missing log, or one without these columns.
        """
        frames = []
        for index, experiment in self._curves():
            path = require(measured.folder / experiment.log)
            log = pd.read_csv(path)
            if missing := [column for column in ("step", *SIDES) if column not in log]:
                raise CCAError(f"{path}: column '{missing[0]}' is missing; delete it and finetune again")
            of_samples = contrasts_samples(measured.context.objectives[experiment.finetune])
            names = {
                "panel_index": index,
                "panel": measured.title(experiment.model),
                "method": measured.objective(experiment.finetune)["name"],
                "label": measured.method(experiment.finetune) + (OWN if of_samples else ""),
                "finetune": experiment.finetune,
            }
            frames.append(log[["step", *SIDES]].assign(**names))
        what = ["panel_index", "panel", "method", "label", "finetune", "step"]
        steps = pd.concat(frames).groupby(what, sort=False)[list(SIDES)]
        points = steps.mean()
        if len(self.seeds) > 1:
            points = points.join(steps.std().add_suffix("_std"))
        return points.reset_index()

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """Positives left, negatives right; a band of a standard deviation to either side."""
        rows = figures.panels(points)
        figure, axes = style.new_figure(columns=2, rows=len(rows), height=2.3)
        for row, (title, panel) in zip(axes, rows, strict=True):
            row[1].sharey(row[0])
            for axis, (side, name) in zip(row, SIDES.items(), strict=True):
                for (method, label), curve in panel.groupby(["method", "label"], sort=False):
                    look = style.look(method) | {"label": label}
                    axis.plot(curve["step"], curve[side], markevery=max(1, len(curve) // 6), **look)
                    if f"{side}_std" in curve:
                        low, high = (curve[side] + sign * curve[f"{side}_std"] for sign in (-1, 1))
                        axis.fill_between(curve["step"], low, high, color=look["color"], alpha=0.2, lw=0)
                axis.axhline(0, color="#000000", lw=0.6)
                axis.set(title=f"{title}, {name}", xlabel="finetuning step")
            row[0].set_ylabel("change of log p (nats)")
        style.legend(figure, ncols=3)
        return figure
