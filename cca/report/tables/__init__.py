"""Tables. A table is a module with ``Table``, a subclass of this package's `Table`."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from cca import experiments, markdown, plugins
from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import atomic, require
from cca.report import html
from cca.report.measured import Context, Measured
from cca.report.tables._readable import latex, readable
from cca.settings import Settings


class Table(Settings, ABC):
    """The rows that a tier wants of a table."""

    shows_external: ClassVar[bool] = False
    """Whether other systems have rows in it."""

    shows_inception: ClassVar[bool] = False
    """Whether FID by Inception's features stands in it too, where the tier measures that."""

    @abstractmethod
    def experiments(self) -> list[Experiment]:
        """The experiments that the table needs."""

    def files(self) -> list[Path]:
        """What it is made of, below the tier's results; by default the experiments' metrics."""
        return [experiment.metrics for experiment in self.experiments()]

    def quality_of(self) -> list[str]:
        """Models whose tokenizers' quality is shown; by default none."""
        return []

    @abstractmethod
    def rows(self, measured: Measured) -> list[dict]:
        """The measured rows, each a value by column.

        Key ``beside`` is no column: it names the reported model that a row stands after.
        """

    @abstractmethod
    def sources(self, measured: Measured, column: str) -> dict[str, list[Path]]:
        """By the name of each measured row: the files that its number in a column is computed from.

        Paths are below the tier's results. Nothing is read for it.
        """


class TableSettings(Context):
    """Settings of stage ``table``."""

    name: str
    content: dict

    @property
    def table(self) -> Table:
        """The content, checked by its plug-in."""
        return plugins.configure(__name__, self.name, "Table", self.content)

    def files(self, results: Path) -> list[Path]:
        """What it is made of."""
        files = [*self.table.files(), *(experiments.external(name) for name in self.external)]
        measured = [path for path in files if path.name == experiments.METRICS] if self.inception else []
        files += [experiments.by_inception(path) for path in measured]
        return [results / path for path in [*files, *self.qualities(self.table.quality_of())]]


def run(settings: TableSettings, *, results: Path, reported: Path, out: Path) -> dict:
    """Stage ``table``, as ``.csv``, ``.md``, ``.tex`` and ``.html``.

    Reported rows, each followed by the measured ones that stand beside it, then the other measured rows.
    The columns are those of the reported file, then those that only measured rows have; ``source`` and
    ``benchmark`` keep the two apart.
    """
    table = settings.table
    frame = pd.read_csv(require(reported))
    fixed = {"benchmark": settings.benchmark, "source": "measured"}
    rows = [fixed | row for row in table.rows(Measured(results, settings))]
    places = [*range(len(frame)), *(place(row.pop("beside", None), frame, reported) for row in rows)]
    columns = list(dict.fromkeys([*frame.columns, *(key for row in rows for key in row)]))
    frame = frame.reindex(columns=columns).astype(object)
    frame = pd.concat([frame, pd.DataFrame(rows, columns=columns, dtype=object)], ignore_index=True)
    frame = frame.iloc[np.argsort(places, kind="stable")]
    shown = readable(frame)
    for path, text in (
        (out.with_suffix(".md"), markdown.table(shown) + "\n"),
        (out.with_suffix(".tex"), latex(shown)),
        (out.with_suffix(".html"), html.page(settings.name, shown)),
        (out, frame.map(six_digits).to_csv(index=False)),
    ):
        with atomic(path) as temporary:
            temporary.write_text(text)
    return {"rows": len(frame)}


def six_digits(value: object) -> object:
    """A number as text, a floating-point one of six significant digits; anything else as it is."""
    if isinstance(value, float) and pd.notna(value):
        return f"{value:.6g}"
    return str(value) if isinstance(value, int) else value  # or pandas makes it 1.0 in a column with gaps


def place(model: str | None, frame: pd.DataFrame, reported: Path) -> int:
    """Index of a model's row in the frame of reported ones; behind them all for None.

    Raises:
        CCAError: no such row.
    """
    if model is None:
        return len(frame)
    models = frame["model"].tolist()
    if model not in models:
        raise CCAError(
            f"{reported}: no row of '{model}', which a system of 'external' names as reported; "
            f"there are: {', '.join(models)}"
        )
    return models.index(model)
