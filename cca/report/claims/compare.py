"""The verdicts of several tiers side by side, from their ``claims.csv``."""

from pathlib import Path

import pandas as pd

from cca.errors import CCAError
from cca.files import require
from cca.report.claims.markdown import verdicts

COLUMNS = ["benchmark", "claim", "model", "verdict", "note"]


def side_by_side(files: list[Path]) -> pd.DataFrame:
    """All verdicts with their notes: a row a claim, a column a model of each benchmark; "-" where not judged.

    Raises:
        CCAError: a file is missing, is not the claims' CSV of one tier, or has a benchmark and model of one
            before it.
    """
    columns: list[pd.DataFrame] = []
    for file in files:
        frame = _read(file)
        benchmark = frame["benchmark"][0]
        judged = verdicts(frame, "claim").set_index("claim").add_prefix(f"{benchmark}: ")
        if twice := {name for one in columns for name in one} & set(judged):
            raise CCAError(f"{file}: '{min(twice)}' is in a file before it; compare what differs")
        columns.append(judged)
    joined = pd.concat(columns, axis=1, sort=False).fillna("-")
    return joined.rename_axis(index="claim").reset_index()


def _read(file: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(require(file))[COLUMNS].astype({"benchmark": str})
    except (ValueError, KeyError) as error:
        raise CCAError(f"{file}: not the claims.csv of a tier: {error}") from error
    if frame["benchmark"].nunique() != 1 or frame.duplicated(["claim", "model"]).any():
        raise CCAError(f"{file}: not the claims.csv of a tier: no rows, or those of several files")
    return frame
