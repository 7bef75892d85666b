"""Other systems in table 2: where their rows stand, which columns they fill, what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

from cca import checkpoints
from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import read_json, write_json
from cca.report import tables

REPORTED = Path(__file__).parents[3] / "workflow/resources/reported/table2.csv"
METRICS = {"fid": 1.25, "inception_score": 9.5, "sfid": 3.0, "precision": 0.75, "recall": 0.5}
URL = "https://a.org/b.npz"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Metrics of a model of ours and of three other systems."""
    write_json(
        tmp_path / Experiment("m", "base", 0, 0).metrics,
        METRICS | {"num_samples": 50, "samples_sha256": "ab" * 32},
    )
    checkpoints.save(tmp_path / "m/base/model.safetensors", nn.Linear(1, 1), {"parameters": 419392})
    for index, name in enumerate(("plain", "guided", "real")):
        values = METRICS | {"fid": 10.0 + index, "num_samples": 7, "samples_sha256": "ab" * 32}
        write_json(tmp_path / "external" / name / "metrics.json", values)
    return tmp_path


def settings(**changes: dict) -> tables.TableSettings:
    diffusion = {"type": "Diffusion", "file": URL, "reported": "ADM"}
    external = {
        "real": {"file": "{results}/real.npz", "model": "real images", "type": "Data", "guidance": False},
        "plain": diffusion | {"model": "ADM-U", "guidance": False, "parameters": 554000000},
        "guided": diffusion | {"model": "ADM-G", "guidance": True},
    }
    external = {name: entry | changes.get(name, {}) for name, entry in external.items()}
    content = {"seeds": [0], "measured": [{"model": "m"}]}
    return tables.TableSettings(
        name="table2", content=content, benchmark="made-up", titles={"m": "Model-M"}, external=external
    )


def table(results: Path, **changes: dict) -> pd.DataFrame:
    tables.run(settings(**changes), results=results, reported=REPORTED, out=results / "table2.csv")
    return pd.read_csv(
        results / "table2.csv", dtype=dict.fromkeys(["parameters", "num_samples", "seeds"], str)
    )


def test_rows_stand_directly_after_the_reported_one_or_with_the_measured_ones(results: Path) -> None:
    rows, reported = table(results), pd.read_csv(REPORTED)["model"].tolist()
    adm = reported.index("ADM") + 1
    wanted = [*reported[:adm], "ADM-U", "ADM-G", *reported[adm:], "Model-M", "real images"]
    assert rows["model"].tolist() == wanted
    assert rows.columns.tolist() == pd.read_csv(REPORTED).columns.tolist()
    measured = rows.set_index("model").loc[["ADM-U", "ADM-G", "Model-M", "real images"]]
    assert (measured["source"] == "measured").all() and (measured["benchmark"] == "made-up").all()
    assert (rows["source"] == "reported").sum() == len(reported)
    lines = (results / "table2.md").read_text().splitlines()
    assert [line.split("|")[4].strip() for line in lines[2:]] == wanted


def test_guidance_chooses_the_columns(results: Path) -> None:
    rows = table(results).set_index("model")
    plain, guided, real = rows.loc["ADM-U"], rows.loc["ADM-G"], rows.loc["real images"]
    for row, fid in ((plain, 10.0), (real, 12.0)):
        assert row[["fid", "inception_score", "precision", "recall"]].tolist() == [fid, 9.5, 0.75, 0.5]
        assert row[["cfg_fid", "cfg_inception_score"]].isna().all()
    assert guided[["cfg_fid", "cfg_inception_score"]].tolist() == [11.0, 9.5]
    assert guided[["fid", "inception_score", "precision", "recall"]].isna().all()
    assert rows["parameters"][["ADM-U", "Model-M"]].tolist() == ["554000000", "419392"]
    assert rows["seeds"]["Model-M"] == "1" and np.isnan(rows["seeds"]["ADM-U"])
    assert np.isnan(rows["parameters"]["ADM-G"]) and plain["num_samples"] == "7"
    assert (plain["origin"], real["origin"]) == (URL, f"{results}/real.npz")


def test_the_table_is_made_of_their_metrics_too(results: Path) -> None:
    files = settings().files(results)
    assert results / "external/guided/metrics.json" in files and all(path.is_file() for path in files)


def test_a_reported_row_that_there_is_not(results: Path) -> None:
    with pytest.raises(CCAError) as error:
        table(results, plain={"reported": "ADMM"})
    message = (
        f"{REPORTED}: no row of 'ADMM', which a system of 'external' names as reported; there are: ADM, "
    )
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_metrics_of_another_file_than_the_tier_names(results: Path) -> None:
    assert len(table(results, real={"sha256": "AB" * 32})) == len(table(results))
    with pytest.raises(
        CCAError, match=f"SHA-256 {'ab' * 32}, but 'external.real.sha256' is {'cd' * 32}: get"
    ):
        table(results, real={"sha256": "cd" * 32})


def test_a_metric_without_a_value_is_a_gap(results: Path) -> None:
    path = results / "external/real/metrics.json"
    write_json(path, read_json(path) | {"precision": None})
    assert np.isnan(table(results).set_index("model")["precision"]["real images"])


def test_inception_fid_stands_beside_the_other_and_is_not_mixed_with_it(results: Path) -> None:
    for folder, fid in (("m/base/seed=0/s=0", 31.0), ("external/plain", 32.0), ("external/guided", 33.0)):
        write_json(results / folder / "inception.json", METRICS | {"fid": fid, "samples_sha256": "ab" * 32})
    real = METRICS | {"fid": 34.0, "samples_sha256": "ab" * 32}
    write_json(results / "external/real/inception.json", real)
    by_inception = settings().model_copy(update={"inception": True})
    files = [path for path in by_inception.files(results) if path.name == "inception.json"]
    assert len(files) == 4 and all(path.is_file() for path in files)
    tables.run(by_inception, results=results, reported=REPORTED, out=results / "table2.csv")
    rows = (
        pd.read_csv(results / "table2.csv")
        .set_index("model")
        .loc[["Model-M", "ADM-U", "ADM-G", "real images"]]
    )
    assert rows["fid_inception"].fillna(0).tolist() == [31.0, 32.0, 0, 34.0]
    assert rows["cfg_fid_inception"].fillna(0).tolist() == [0, 0, 33.0, 0]
    assert rows["fid"].fillna(0).tolist() == [1.25, 10.0, 0, 12.0]
    assert "Inception FID ↓" in (results / "table2.md").read_text()
    write_json(results / "external/real/inception.json", real | {"samples_sha256": "cd" * 32})
    with pytest.raises(
        CCAError, match=r"real/inception\.json: of other samples than metrics\.json beside it"
    ):
        tables.run(by_inception, results=results, reported=REPORTED, out=results / "table2.csv")
