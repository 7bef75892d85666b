"""Every artefact of the smoke DAG leads back to the raw data, every number of its tables to measurements."""

import csv
from pathlib import Path

import pytest

from cca.records.lineage import original, trace
from cca.report.lineage import tree
from cca.report.numbers import find

COMES_FROM_THE_DATA = "images: results/smoke/data/images.npz  data, source mnist5k"


def test_every_artefact_is_what_its_record_says_and_comes_from_the_data(finished: Path) -> None:
    artefacts = [
        path
        for folder in ("results", "paper_figures")
        for path in sorted((finished / folder).iterdir())
        if path.is_file() and path.suffix in {".csv", ".md", ".tex", ".pdf", ".png"}
    ]
    assert len(artefacts) > 30
    theory = {"theory.csv", "theory.md", "fig_theory.csv", "fig_theory.pdf", "fig_theory.png"}
    for path in artefacts:
        lineage = trace(path)
        assert not lineage.problems(), path
        if path.name not in theory:
            assert any(COMES_FROM_THE_DATA in line for line in tree(lineage)), path


@pytest.mark.parametrize("name", ["table2", "table3", "tokenizers"])
def test_every_number_of_a_table_has_its_measurements(
    finished: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    table = original(Path(f"results/{name}.csv"))
    rows = [row for row in csv.DictReader(table.open()) if row["source"] == "measured"]
    numbers = 0
    for row in rows:
        for column, value in row.items():
            if value and column not in {"benchmark", "source", "type", "model", "tokenizer", "origin"}:
                found = find(table, row.get("model") or row["tokenizer"], column)
                assert found.value == value and all((finished / path).is_file() for path in found.files)
                numbers += 1
    assert numbers > 4
