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
        CCAError: a file is missing, is not the claims' CSV, or is of the benchmark of one before it.
    """
    tiers: dict[str, pd.DataFrame] = {}
    for file in files:
        frame = _read(file)
        benchmark = frame["benchmark"][0]
        if benchmark in tiers:
            raise CCAError(f"{file}: of {benchmark}, as a file before it; compare different benchmarks")
        tiers[benchmark] = verdicts(frame, "claim").set_index("claim")
    joined = pd.concat(tiers, axis=1, sort=False).fillna("-")
    joined.columns = [": ".join(name) for name in joined.columns]
    return joined.rename_axis(index="claim").reset_index()


def _read(file: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(require(file))[COLUMNS].astype({"benchmark": str})
    except (ValueError, KeyError) as error:
        raise CCAError(f"{file}: not the claims.csv of a tier: {error}") from error
    if frame.empty:
        raise CCAError(f"{file}: not the claims.csv of a tier: no rows")
    return frame
