"""The record beside an artefact."""

import hashlib
from pathlib import Path

import pytest

from cca.errors import CCAError
from cca.files import read_json
from cca.provenance import Recorder, record_path
from cca.settings import Settings


class Some(Settings):
    """Settings of a stage."""

    a: int = 1


def test_record_names_inputs_and_output_by_content(tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.npz"
    source.write_bytes(b"in")
    recorder = Recorder("stage", Some(), {"source": [source, source]}, {"seed": 3})
    out.write_bytes(b"out")
    recorder.finish(out, {"steps": 7})
    record = read_json(record_path(out))
    entry = {"path": str(source), "sha256": hashlib.sha256(b"in").hexdigest()}
    assert record["inputs"] == {"source": [entry, entry]}
    assert record["output"]["sha256"] == hashlib.sha256(b"out").hexdigest()
    assert (record["settings"], record["arguments"], record["measured"]) == (
        {"a": 1},
        {"seed": 3},
        {"steps": 7},
    )
    assert record["code"]["version"]
    assert {"torch", "numpy"} <= set(record["environment"]["packages"])


def test_a_missing_input_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(CCAError, match=r"absent.npz: no such file"):
        Recorder("stage", Some(), {"source": [tmp_path / "absent.npz"]})


def test_records_of_neighbours_do_not_collide(tmp_path: Path) -> None:
    names = ["model.safetensors", "codes.npz", "shard_0.npz", "shard_1.npz", "table2.csv", "metrics.json"]
    assert len({record_path(tmp_path / name) for name in names}) == len(names)
