"""Figures. A figure is a module with ``Figure``, a subclass of this package's `Figure`."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.figure
import pandas as pd

from cca import plugins
from cca.experiments import Experiment
from cca.files import atomic
from cca.report import style
from cca.report.measured import Context, Measured
from cca.settings import Settings

if TYPE_CHECKING:
    from cca.config import Tier


class Figure(Settings, ABC):
    """What a tier wants drawn."""

    @abstractmethod
    def experiments(self) -> list[Experiment]:
        """The experiments that the figure needs."""

    def files(self) -> list[Path]:
        """What must be made before, below the tier's results; by default the experiments' metrics."""
        return [experiment.metrics for experiment in self.experiments()]

    def samples_of(self) -> list[Experiment]:
        """Experiments of whose samples the first are drawn; by default none."""
        return []

    def quality_of(self) -> list[str]:
        """Models whose tokenizers' rFID is drawn; by default none."""
        return []

    def check(self, tier: "Tier") -> None:
        """Hold the figure against the rest of its tier; by default there is nothing to hold.

        Raises:
            CCAError: it wants what the tier does not make.
        """

    @abstractmethod
    def points(self, measured: Measured) -> pd.DataFrame:
        """The points drawn, a row each; this is the figure's ``.csv``."""

    @abstractmethod
    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """The figure of those points, and of nothing else."""


def panels(points: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and rows of each panel, told apart by ``panel_index``: two may have one title."""
    return [(rows["panel"].iloc[0], rows) for _, rows in points.groupby("panel_index", sort=False)]


class FigureSettings(Context):
    """Settings of stage ``figure``."""

    name: str
    content: dict

    @property
    def figure(self) -> Figure:
        """The content, checked by its plug-in."""
        return plugins.configure(__name__, self.name, "Figure", self.content)

    def needs(self) -> list[Path]:
        """What must be made before, below the tier's results."""
        figure = self.figure
        samples = [experiment.samples(self.shards) for experiment in figure.samples_of()]
        return [*figure.files(), *samples, *self.qualities(figure.quality_of())]

    def files(self, results: Path) -> list[Path]:
        """What it is made of."""
        return [results / path for path in self.needs()]


def run(settings: FigureSettings, *, results: Path, out: Path) -> dict:
    """Stage ``figure``: ``out`` as ``.pdf``, a ``.png`` to look at, and the ``.csv`` of the points."""
    figure = settings.figure
    points = figure.points(Measured(results, settings))
    with atomic(out.with_suffix(".csv")) as temporary:
        points.to_csv(temporary, index=False, float_format="%.6g")
    with matplotlib.rc_context(style.RC):
        drawing = figure.draw(points)
        for path, options in (
            (out.with_suffix(".png"), {"dpi": 200}),
            (out, {"metadata": {"CreationDate": None}}),
        ):
            with atomic(path) as temporary:
                drawing.savefig(temporary, **options)
    return {"points": len(points)}
