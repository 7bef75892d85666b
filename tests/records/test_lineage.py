"""From an artefact to the raw data, and what changed on the way."""

import json
import re
import shutil
from pathlib import Path

import pytest

from cca.errors import CCAError
from cca.records.lineage import original, trace
from cca.records.provenance import recorded
from cca.report.lineage import show, tree
from cca.settings import Settings


class Source(Settings):
    """Settings of a stage that reads raw data."""

    source: str = "digits"


def make(stage: str, out: str, **inputs: str) -> None:
    """Run a stage that writes what it is called and what it has read."""
    files = {name: [Path(path)] for name, path in inputs.items()}
    with recorded(
        stage, "cca.stages.score", Source(), files, Path(out), {"seed": 3} if stage == "sample" else {}
    ):
        read = "".join(path.read_text() for paths in files.values() for path in paths)
        Path(out).write_text(f"{stage} {read}")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of metrics of samples of a model, and a model and a reference of the same images."""
    monkeypatch.chdir(tmp_path)
    for name in ("data", "base", "tables"):
        Path("results/tiny", name).mkdir(parents=True)
    Path("reported.csv").write_text("paper")
    make("data", "results/tiny/data/images.npz")
    make("pretrain", "results/tiny/base/model.safetensors", images="results/tiny/data/images.npz")
    make("sample", "results/tiny/base/shard_0.npz", model="results/tiny/base/model.safetensors")
    make("reference", "results/tiny/data/reference.npz", images="results/tiny/data/images.npz")
    made = {"reference": "results/tiny/data/reference.npz", "samples": "results/tiny/base/shard_0.npz"}
    make("evaluate", "results/tiny/base/metrics.json", **made)
    metrics = "results/tiny/base/metrics.json"
    make("report table", "results/tiny/tables/table2.csv", results=metrics, reported="reported.csv")
    return Path(shutil.copy("results/tiny/tables/table2.csv", "results/table2.csv"))


def test_the_tree_ends_at_the_raw_data_and_draws_what_is_shared_once(table: Path) -> None:
    assert [re.sub(r", [\d.]+ s, .*", "", line) for line in tree(trace(table))] == [
        "results/tiny/tables/table2.csv  report table",
        "├─ reported: reported.csv  given",
        "└─ results: results/tiny/base/metrics.json  evaluate",
        "   ├─ reference: results/tiny/data/reference.npz  reference",
        "   │  └─ images: results/tiny/data/images.npz  data, source digits",
        "   └─ samples: results/tiny/base/shard_0.npz  sample, seed 3",
        "      └─ model: results/tiny/base/model.safetensors  pretrain",
        "         └─ images: results/tiny/data/images.npz  data, source digits",
    ]
    assert not trace(table).problems()


def test_paths_are_found_from_any_folder(
    table: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = trace(table), table.absolute()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert trace(here).files == there.files


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("results/tiny/data/images.npz", "delete it, have snakemake make it by this name, then what was"),
        ("reported.csv", "put back what was read"),
        ("results/tiny/tables/table2.csv", "delete it, have snakemake make it by this name, then what was"),
    ],
)
def test_an_edited_file_is_marked_and_ends_in_an_error(
    table: Path, path: str, way: str, capsys: pytest.CaptureFixture
) -> None:
    Path(path).write_text("edited")
    state = "not what its record says"
    with pytest.raises(CCAError, match=rf"{path}: {state}; {way}"):
        show(Path("results/tiny/tables/table2.csv"), None, None)
    marked = [line for line in capsys.readouterr().out.splitlines() if line.endswith(f"** {state} **")]
    assert marked and all(path in line for line in marked)


def test_what_was_made_again_or_removed_since_is_marked(table: Path) -> None:
    Path("results/tiny/base/shard_0.npz").unlink()
    with recorded("pretrain", "cca.stages.score", Source(), {}, Path("results/tiny/base/model.safetensors")):
        Path("results/tiny/base/model.safetensors").write_text("another")
    assert trace(table).problems() == {
        "results/tiny/base/shard_0.npz": "missing",
        "results/tiny/base/model.safetensors": "made again since",
    }


def test_a_copy_that_is_not_the_tiers_and_a_file_without_record_are_one_line(table: Path) -> None:
    assert original(table) == table.absolute().with_name("tiny") / "tables/table2.csv"
    table.write_text("edited")
    with pytest.raises(CCAError, match=r"results/table2.csv: not a copy of .*tables/table2.csv as it is now"):
        trace(table)
    Path("results/tiny/tables/table2.csv").unlink()  # as snakemake does where the table cannot be made again
    with pytest.raises(CCAError, match=r"tiny/tables/table2.csv: missing, which .*results/table2.csv copies"):
        trace(table)
    with pytest.raises(CCAError, match=r"reported.csv: no record of it"):
        trace(Path("reported.csv"))
    with pytest.raises(CCAError, match=r"absent.csv: no such file"):
        trace(Path("absent.csv"))


def test_records_are_printed_as_json(table: Path, capsys: pytest.CaptureFixture) -> None:
    show(table, None, None, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["artefact"] == "results/tiny/tables/table2.csv" and told["problems"] == {}
    assert told["files"]["results/tiny/base/shard_0.npz"]["record"]["arguments"] == {"seed": 3}
    assert told["files"]["reported.csv"]["record"] is None
