"""Verdicts of several tiers side by side."""

import re
from pathlib import Path

import pandas as pd
import pytest

from cca import markdown
from cca.errors import CCAError
from cca.report.claims.compare import side_by_side

RESULTS = Path(__file__).parents[3] / "docs/results"


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


def test_models_of_one_benchmark_may_be_in_two_files(tmp_path: Path) -> None:
    both = [claims(tmp_path / f"{m}.csv", "digits", [("x", m, "reproduced", None)]) for m in "LV"]
    assert list(side_by_side(both)) == ["claim", "digits: L", "digits: V"]


def test_other_files_and_one_model_twice_are_refused(tmp_path: Path) -> None:
    good = claims(tmp_path / "a.csv", "digits", [("x", "L", "reproduced", None)])
    with pytest.raises(CCAError, match=r"a\.csv: 'digits: L' is in a file before it"):
        side_by_side([good, good])
    with pytest.raises(CCAError, match=r"b\.csv: not the claims\.csv of a tier: no rows"):
        side_by_side([claims(tmp_path / "b.csv", "photos", [])])
    (tmp_path / "c.csv").write_text("model,fid\nM,1\n")
    with pytest.raises(CCAError, match=r"c\.csv: not the claims\.csv of a tier: .*'claim'"):
        side_by_side([tmp_path / "c.csv"])
    two = claims(tmp_path / "e.csv", "photos", [("x", "N", "reproduced", None)])
    two.write_text(good.read_text() + two.read_text().partition("\n")[2])
    with pytest.raises(CCAError, match=r"e\.csv: .* or those of several files"):
        side_by_side([two])
    two.write_text(good.read_text() + good.read_text().partition("\n")[2])
    with pytest.raises(CCAError, match=r"e\.csv: .* or those of several files"):
        side_by_side([two])
    (tmp_path / "d.csv").touch()
    with pytest.raises(CCAError, match=r"d\.csv: not the claims\.csv of a tier: No columns"):
        side_by_side([tmp_path / "d.csv"])


def direction(cell: str) -> bool | None:
    """Whether numbers agree with a claim; None where they say nothing."""
    if cell == "reproduced" or "numbers agree" in cell:
        return True
    return False if cell == "not reproduced" or "numbers disagree" in cell else None


def test_the_page_of_results_shows_all_verdicts_and_explains_those_that_differ() -> None:
    frame = side_by_side([RESULTS / tier / "claims.csv" for tier in ("mini", "cifar10")])
    page = (RESULTS / "README.md").read_text()
    assert markdown.table(frame) in page
    directions = frame.set_index("claim").map(direction)
    differing = {claim for claim, row in directions.iterrows() if {True, False} <= set(row)}
    assert differing and differing == set(re.findall(r"^- `(\w+)`: ", page, flags=re.MULTILINE))
