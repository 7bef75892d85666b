"""docs/pitfalls.md: the traces of its table "Find your own" are those that were published of tier mini."""

import re

import numpy as np
import pandas as pd
import pytest

from .commands import REPOSITORY

METRICS = {
    "FID": "fid",
    "sFID": "sfid",
    "Inception Score": "inception_score",
    "precision": "precision",
    "recall": "recall",
}
DOWN, SAME, UP = -1, 0, 1
VERDICTS = {
    "up": {UP},
    "far up": {UP},
    "too": {UP},  # as FID in the same row
    "down": {DOWN},
    "far down": {DOWN},
    "moved, far down": {DOWN},
    "a little down": {DOWN},
    "near zero": {DOWN},
    "as it was": {SAME},
    "exactly as it was": {SAME},
    "no worse": {DOWN, SAME},  # of a distance
    "no better": {DOWN, SAME},  # of precision
    "little or even better": {DOWN, SAME},  # of a distance
    "up or within the band": {SAME, UP},
    "moved, by a factor": {DOWN, UP},
    "either way": {DOWN, SAME, UP},
}
"""Where a metric may be."""
OTHERS = re.compile("only|all else as it was|nothing moved beyond the band")
"""What is taken of every metric that a row does not name: it has not moved."""
FURTHER = re.compile("and|with as many samples|and the pictures look too dark")
"""What is said of no metric."""
OF_THE_LAST = re.compile("of very few samples ([^,]*)")
BRACKETS = re.compile(r"\(([^)]*)\)")


def one_of(words: dict) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


METRIC = rf"\b(?:{one_of(METRICS)})\b"
CLAUSE = re.compile(rf"(?:the )?({METRIC}(?:(?:, | and |, and ){METRIC})*) (?:alone )?({one_of(VERDICTS)})")


@pytest.fixture(scope="module")
def measured() -> pd.DataFrame:
    """What each mistake did to each metric."""
    return pd.read_csv(REPOSITORY / "docs/results/mini/pitfalls.csv").set_index("name")


def rows() -> list[tuple[str, str]]:
    """What is seen, and the names of mistakes: the first and the last column of the page's table."""
    text = (
        (REPOSITORY / "docs/pitfalls.md").read_text().partition("## Find your own")[2].partition("\n## ")[0]
    )
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == ["what you see", "what it may be", "row in the table"]
    return [(seen, names) for seen, _, names in lines[1:]]


def named(names: str, known: list[str]) -> list[str]:
    """Mistakes that a cell names, each by how it begins: between semicolons, else between commas."""
    found = []
    for part in names.split("; "):
        whole = any(name.startswith(part) for name in known)
        for begin in [part] if whole else part.split(", "):
            matches = [name for name in known if name.startswith(begin)]
            assert matches, f"'{begin}' is no mistake of the published table"
            found += matches
    return found


def said(text: str) -> dict[str, set[int]]:
    """Where a text says that metrics are; it has no word beside."""
    found = {}
    for metrics, verdict in CLAUSE.findall(text):
        found |= dict.fromkeys((METRICS[name] for name in re.findall(METRIC, metrics)), VERDICTS[verdict])
    left = CLAUSE.sub("", text)
    words = [part.strip() for part in OTHERS.sub("", left).split(",")]
    words = [part for part in words if part and not FURTHER.fullmatch(part)]
    assert not words, f"'{text}': the test does not know {words}"
    return found


@pytest.mark.parametrize(("seen", "names"), rows())
def test_what_is_seen_of_a_mistake_is_what_was_measured(
    seen: str, names: str, measured: pd.DataFrame
) -> None:
    """Brackets are of moves that stayed within the interval, of several mistakes in one at least."""
    mistakes = measured.loc[named(names, [*measured.index])]
    plain = BRACKETS.sub("", seen)
    of_all, of_last = said(OF_THE_LAST.sub("", plain)), said(",".join(OF_THE_LAST.findall(plain)))
    within = said(",".join(BRACKETS.findall(seen)))
    for number, (name, row) in enumerate(mistakes.iterrows(), 1):
        wanted = of_all | (of_last if number == len(mistakes) else {})
        for metric in METRICS.values():
            allowed = wanted.get(metric, {SAME} | within.get(metric, set()))
            assert row[f"{metric}_moved"] in allowed, f"{name}: {metric}"
    for metric, directions in within.items():
        assert {*np.sign(mistakes[f"{metric}_change"])} == directions, metric
        assert (mistakes[f"{metric}_moved"] == SAME).any(), metric


def test_every_mistake_is_in_one_row(measured: pd.DataFrame) -> None:
    cells = [name for _, names in rows() for name in named(names, [*measured.index])]
    made = measured[~measured["group"].isin(["right", "noise"])]
    assert len(rows()) > 12 and sorted(cells) == sorted(made.index)
