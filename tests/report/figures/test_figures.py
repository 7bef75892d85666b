"""Every figure: its CSV says what the files say, and it is made of nothing else."""

from pathlib import Path

import pandas as pd
import pytest

from cca.errors import CCAError
from cca.report import figures, style

from .conftest import CONTENT, points_of, settings


@pytest.mark.parametrize("name", CONTENT)
def test_every_figure_is_made_of_files_that_it_names(made: Path, tmp_path: Path, name: str) -> None:
    report = figures.run(settings(name), results=made, out=tmp_path / f"{name}.pdf")
    assert len(pd.read_csv(tmp_path / f"{name}.csv")) == report["points"] > 0
    assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    files = settings(name).files(made)
    assert files and all(path.is_file() for path in files)
    for path in set(files):
        hidden = path.rename(path.with_suffix(".hidden"))
        with pytest.raises(CCAError, match=f"{path.name}: no such file") as error:
            points_of(made, name)
        assert "\n" not in str(error.value)
        hidden.rename(path)


def test_methods_differ_in_colour_and_in_marker() -> None:
    for key in ("color", "marker", "label"):
        values = [look[key] for look in style.METHODS.values()]
        assert len(set(values)) == len(values)
    assert style.look("mine")["label"] == "mine"
