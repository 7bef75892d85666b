"""Figure 3: samples of the same labels and random numbers, without guidance, after CCA, with CFG."""

from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
from pydantic import Field

from cca.errors import CCAError
from cca.experiments import BASE, Experiment
from cca.files import read_npz
from cca.report import figures, style
from cca.report.measured import Measured
from cca.settings import Settings


class Row(Settings):
    """One model: its CCA finetune, and the scale of its CFG samples."""

    model: str
    cca: str
    cfg_scale: float = Field(gt=0)


class Figure(figures.Figure):
    """The first ``side * side`` samples of each experiment, in the order of their labels."""

    seed: int = Field(default=0, ge=0)
    side: int = Field(default=5, ge=1, description="images along a side of a grid")
    rows: list[Row] = Field(min_length=1)

    def _grids(self) -> list[tuple[int, str, Experiment]]:
        return [
            (index, method, Experiment(row.model, finetune, self.seed, scale))
            for index, row in enumerate(self.rows)
            for method, finetune, scale in (
                ("base", BASE, 0),
                ("cca", row.cca, 0),
                ("cfg", BASE, row.cfg_scale),
            )
        ]

    def experiments(self) -> list[Experiment]:
        """Three of every model."""
        return [experiment for _, _, experiment in self._grids()]

    def samples_of(self) -> list[Experiment]:
        """All."""
        return self.experiments()

    def points(self, measured: Measured) -> pd.DataFrame:
        """Columns panel_index, panel, method, lam, s, inception_score, place in the grid, sample,
        label, shard.

        An image a row.

        Raises:
            CCAError: missing or damaged samples, or fewer than a grid shows.
        """
        frames = []
        for index, method, experiment in self._grids():
            path = measured.folder / experiment.samples(measured.context.shards)
            labels = read_npz(path, "labels")["labels"][: self.side**2]
            if len(labels) < self.side**2:
                raise CCAError(f"{path}: {len(labels)} samples are too few for fig3's side of {self.side}")
            order = np.argsort(labels, kind="stable")
            frame = pd.DataFrame({"place": range(self.side**2), "sample": order, "label": labels[order]})
            panel = {
                "panel_index": index,
                "panel": measured.title(experiment.model),
                "method": method,
                "lam": measured.objective(experiment.finetune).get("lam", float("nan")),
                "s": experiment.scale,
                "inception_score": measured.metrics(experiment)["inception_score"],
                "shard": str(path),
            }
            frames.append(frame.assign(**panel))
        return pd.concat(frames, ignore_index=True)

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """A grid of images a panel, a row of panels a model."""
        rows = figures.panels(points)
        figure, axes = style.new_figure(columns=3, rows=len(rows), height=2.2)
        for row, (title, grids) in zip(axes, rows, strict=True):
            row[0].set_ylabel(title)
            for axis, (method, panel) in zip(row, grids.groupby("method", sort=False), strict=True):
                first = panel.iloc[0]
                strength = {"cca": f", λ = {first['lam']:g}", "cfg": f", s = {first['s']:g}"}.get(method, "")
                score = first["inception_score"]
                shown = f"{score:.2f}" if np.isfinite(score) else "-"
                axis.set_title(f"{style.look(method)['label']}{strength}\nIS {shown}")
                images = grid(read_npz(Path(first["shard"]), "arr_0")["arr_0"][panel["sample"]])
                axis.imshow(images, interpolation="none")  # not smoothed where they are enlarged
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
        return figure


def grid(images: np.ndarray) -> np.ndarray:
    """Images (side * side, H, W, 3) uint8 in rows of ``side``, with white lines between."""
    side, gap = round(len(images) ** 0.5), max(1, images.shape[1] // 16)
    padded = np.pad(images, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    tiles = padded.reshape(side, side, *padded.shape[1:]).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(side * padded.shape[1], side * padded.shape[2], 3)[:-gap, :-gap]
