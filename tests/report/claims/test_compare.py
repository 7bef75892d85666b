"""Verdicts of several tiers side by side."""

from pathlib import Path

import pandas as pd
import pytest

from cca.errors import CCAError
from cca.report.claims.compare import side_by_side


def claims(path: Path, benchmark: str, rows: list[tuple[str, str, str, str | None]]) -> Path:
    frame = pd.DataFrame(rows, columns=["claim", "model", "verdict", "note"])
    frame.assign(benchmark=benchmark).to_csv(path, index=False)
    return path


def test_every_model_of_every_benchmark_is_a_column_and_what_was_not_judged_a_dash(tmp_path: Path) -> None:
    digits = claims(
        tmp_path / "a.csv",
        "digits",
        [("y", "L", "reproduced", None), ("y", "V", "not reproduced", None), ("x", "L", "reproduced", None)],
    )
    photos = claims(
        tmp_path / "b.csv", "photos", [("x", "L", "inconclusive", "one seed"), ("z", "L", "reproduced", None)]
    )
    frame = side_by_side([digits, photos])
    assert list(frame) == ["claim", "digits: L", "digits: V", "photos: L"]
    assert frame.to_numpy().tolist() == [
        ["y", "reproduced", "not reproduced", "-"],
        ["x", "reproduced", "-", "inconclusive (one seed)"],
        ["z", "-", "-", "reproduced"],
    ]


def test_other_files_and_one_benchmark_twice_are_refused(tmp_path: Path) -> None:
    good = claims(tmp_path / "a.csv", "digits", [("x", "L", "reproduced", None)])
    with pytest.raises(CCAError, match=r"a\.csv: of digits, as a file before it"):
        side_by_side([good, good])
    with pytest.raises(CCAError, match=r"b\.csv: not the claims\.csv of a tier: no rows"):
        side_by_side([claims(tmp_path / "b.csv", "photos", [])])
    (tmp_path / "c.csv").write_text("model,fid\nM,1\n")
    with pytest.raises(CCAError, match=r"c\.csv: not the claims\.csv of a tier: .*'claim'"):
        side_by_side([tmp_path / "c.csv"])
    (tmp_path / "d.csv").touch()
    with pytest.raises(CCAError, match=r"d\.csv: not the claims\.csv of a tier: No columns"):
        side_by_side([tmp_path / "d.csv"])
