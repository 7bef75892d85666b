"""What a number in a table is computed from: the row and column of a CSV, followed to measurements."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cca.errors import CCAError
from cca.files import read_json
from cca.records.lineage import started_in
from cca.records.provenance import record_of
from cca.report.measured import Measured
from cca.report.tables import TableSettings
from cca.report.tables._readable import NAMES
from cca.settings import validate

LABELS = ("model", "tokenizer")
"""Columns that name a row."""


@dataclass(frozen=True)
class Number:
    """A number of a table.

    Attributes:
        row, column: their names in the CSV.
        value: as it is printed there.
        files: the path of each file that it is computed from, as the table's record has it, and the value
            there; None where the file holds it in another way, or is gone or damaged.
    """

    row: str
    column: str
    value: str
    files: dict[str, float | None]


def find(table: Path, row: str, column: str) -> Number:
    """Follow a number to its files.

    Args:
        table: the CSV that its record lies beside; of the copy at the top level,
            `cca.records.lineage.original`.
        row: the name of a measured row, or a part that only one has.
        column: a column's name in the CSV or, as in the readable table, such as ``FID``.

    Raises:
        CCAError: no table, no such row or column, or nothing measured there.
    """
    record = record_of(table)
    if record is None or record["stage"] != "report table" or table.suffix != ".csv":
        raise CCAError(f"{table}: not the CSV of a table, in which --row and --column name a number")
    settings = validate(TableSettings, record["settings"], f"{table}: its record")
    frame = pd.read_csv(table, dtype=str)
    frame = frame[frame["source"] == "measured"]
    label = next(name for name in LABELS if name in frame)
    name = _row(table, row, frame[label].tolist())
    key = _column(table, column, list(frame))
    value = frame.loc[frame[label] == name, key].iloc[0]
    below = settings.table.sources(Measured(Path(), settings), key).get(name)
    if pd.isna(value) or not below:
        raise CCAError(f"{table}: '{key}' of '{name}' is no measured number")
    read = [entry["path"] for entry in record["inputs"]["results"]]
    paths = [next(path for path in read if Path(path).parts[-len(b.parts) :] == b.parts) for b in below]
    root = started_in(table, record)
    return Number(name, key, value, {path: _value(root / path, key) for path in paths})


def _value(path: Path, column: str) -> float | None:
    """What a file of metrics says; None of others, and of one that is gone or damaged."""
    try:
        metrics = read_json(path) if path.suffix == ".json" else {}
    except CCAError:
        return None
    key = column.removeprefix("cfg_").removesuffix("_std").removesuffix("_inception")
    value = metrics.get(key) if isinstance(metrics, dict) else None
    return value if isinstance(value, int | float) else None


def check(table: Path, number: Number) -> None:
    """Raise a `CCAError` unless the values in the files give a number that was found, in its six digits."""
    values = [value for value in number.files.values() if value is not None]
    if len(values) < len(number.files):
        return
    given = np.std(values, ddof=1) if number.column.endswith("_std") else np.mean(values)
    if not np.isclose(float(number.value), given, rtol=1e-5, atol=0):
        raise CCAError(
            f"{table}: '{number.column}' of '{number.row}' is {number.value}, but its measurements give "
            f"{given:.6g}: they or the table changed; make the table again"
        )


def _column(table: Path, column: str, columns: list[str]) -> str:
    """A column by its name in the CSV or, without arrow, in the readable table."""
    printed = {NAMES.get(name, name).rstrip(" ↓↑").casefold(): name for name in columns}
    found = column if column in columns else printed.get(column.strip(" ↓↑").casefold())
    if found is None:
        raise CCAError(f"{table}: no column '{column}'; there are: {', '.join(columns)}")
    return found


def _row(table: Path, row: str, names: list[str]) -> str:
    """The one measured row whose name is, or else contains, what was given."""
    wanted = " ".join(row.split()).casefold()
    same = [name for name in names if name.casefold() == wanted]
    found = same or [name for name in names if wanted in name.casefold()]
    if len(found) == 1:
        return found[0]
    problem = f"'{row}' is part of {len(found)}" if found else f"no measured row '{row}'"
    raise CCAError(f"{table}: {problem}; there are: {'; '.join(found or names)}")
