"""The command line: one clear line and status 1 for every error, a record beside every output."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn
from typer.core import TyperGroup
from typer.main import get_command

from cca import checkpoints, cli
from cca.files import write_json
from cca.records.provenance import code_version

from .conftest import started

MNIST = {"source": "mnist5k", "image_size": 28, "channels": 1, "heldout_fraction": 0.2, "limit_per_class": 5}

REPORTED = Path(__file__).parents[1] / "workflow/resources/reported/table2.csv"


def cca(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["cca", *map(str, arguments)])
    cli.main()


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command that must fail; returns its line."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as stop:
            cca(monkeypatch, *arguments)
        assert isinstance(stop.value.code, str)  # Python prints it to stderr and exits with 1
        assert stop.value.code.startswith("error: ") and "\n" not in stop.value.code
        return stop.value.code

    return run


def test_a_stage_writes_its_output_and_the_record_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "images.npz"
    cca(monkeypatch, "--threads", 1, "data", "--settings", json.dumps(MNIST), "--out", out)
    assert "data: wrote" in capsys.readouterr().out
    record = json.loads((tmp_path / "images.provenance.json").read_text())
    assert record["settings"] | MNIST == record["settings"]
    assert {"train": 40, "heldout": 10, "classes": 10}.items() <= record["measured"].items()
    assert record["environment"]["threads"] == 1
    assert record["peak_memory_bytes"] > 2**20


def test_settings_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(json.dumps(MNIST))
    cca(monkeypatch, "data", "--settings", tmp_path / "data.yaml", "--out", tmp_path / "images.npz")
    assert (tmp_path / "images.npz").exists()


def test_a_report_records_the_files_that_it_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    metrics = tmp_path / "results/m/base/seed=0/s=0/metrics.json"
    numbers = dict.fromkeys(["fid", "sfid", "inception_score", "precision", "recall"], 0.5)
    write_json(metrics, numbers | {"num_samples": 10})
    checkpoints.save(tmp_path / "results/m/base/model.safetensors", nn.Linear(1, 1), {"parameters": 77})
    content = {"measured": [{"model": "m"}], "seeds": [0]}
    settings = {
        "name": "table2",
        "benchmark": "b",
        "titles": {"m": "M"},
        "objectives": {},
        "content": content,
    }
    common = ("--settings", json.dumps(settings), "--results", tmp_path / "results")
    cca(monkeypatch, "report", "table", *common, "--reported", REPORTED, "--out", tmp_path / "table2.csv")
    record = json.loads((tmp_path / "table2.provenance.json").read_text())
    assert str(metrics) in [entry["path"] for entry in record["inputs"]["results"]]
    assert len(record["inputs"]["reported"]) == 1


def test_errors_are_one_line(fails: object, tmp_path: Path) -> None:
    assert "No such command 'dada'" in fails("dada")
    assert "No such option: --nope" in fails("data", "--nope")
    assert "unknown key 'sauce'" in fails(
        "data", "--settings", json.dumps(MNIST | {"sauce": 1}), "--out", "x"
    )
    assert "not valid YAML" in fails("data", "--settings", "{a: [", "--out", "x")
    missing = tmp_path / "missing.npz"
    line = fails(
        "pairs", "--settings", "{}", "--codes", missing, "--seed", 0, "--out", tmp_path / "pairs.npz"
    )
    assert line == f"error: {missing}: no such file"
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_says_names_the_file(fails: object, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = fails("data", "--settings", json.dumps(MNIST), "--out", tmp_path / "file" / "images.npz")
    place = tmp_path / "file" / "images.npz"
    told = "nothing can be written there: File exists; mend that or choose another place"
    assert line == f"error: {place}: {told}"


def test_unexpected_errors_show_a_traceback_only_with_debug(
    fails: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("cca.data.images.run", broken)
    arguments = ("data", "--settings", json.dumps(MNIST), "--out", tmp_path / "x.npz")
    assert "unexpected ZeroDivisionError: oh" in fails(*arguments)
    with pytest.raises(ZeroDivisionError):
        cca(monkeypatch, "--debug", *arguments)


def test_a_misplaced_debug_is_an_error_like_any_other(fails: object, tmp_path: Path) -> None:
    line = fails("data", "--settings", json.dumps(MNIST), "--out", tmp_path / "x.npz", "--debug")
    assert "No such option: --debug" in line


def stages(group: TyperGroup, *before: str) -> Iterator[tuple[str, ...]]:
    """The words of every command of a group."""
    for name, command in group.commands.items():
        yield (*before, name)
        if isinstance(command, TyperGroup):
            yield from stages(command, *before, name)


@pytest.mark.parametrize("words", list(stages(get_command(cli.app))), ids=" ".join)
def test_help_of_every_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: tuple[str, ...]
) -> None:
    cca(monkeypatch, *words, "--help")
    assert " ".join(words) in capsys.readouterr().out


def test_the_version_is_that_of_the_records(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    cca(monkeypatch, "--version")
    assert capsys.readouterr().out == f"cca {code_version('cca.stages.score')['version']}\n"


@pytest.mark.parametrize("words", [(), ("report",)])
def test_no_command_shows_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: tuple[str, ...]
) -> None:
    cca(monkeypatch, *words)
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_says_so_and_leaves_nothing_half_written(
    world, tmp_path: Path, number: signal.Signals
) -> None:
    settings = {
        "family": "llamagen",
        "architecture": {"dim": 16, "layers": 1, "heads": 2},
        "steps": 1_000_000,
        "batch_size": 8,
        "optimisation": {"learning_rate": 1e-3},
    }
    command = [str(Path(sys.executable).parent / "cca"), "--threads", "1", "pretrain"]
    command += ["--settings", json.dumps(settings), "--tokenizer", str(world.tokenizer)]
    command += ["--codes", str(world.codes), "--out", str(tmp_path / "model.safetensors")]
    process = started(command, {**os.environ, "TQDM_MININTERVAL": "0"}, tmp_path / "stderr")
    process.send_signal(number)
    assert process.wait(timeout=120) == {signal.SIGINT: 1, signal.SIGTERM: 75}[number]
    last = (tmp_path / "stderr").read_text().splitlines()[-1]
    what = {signal.SIGINT: "interrupted", signal.SIGTERM: r"terminated after step \d+"}[number]
    assert re.fullmatch(f"error: {what}; run the same command again.*", last)
    kept = ["model.progress.pt"] if number == signal.SIGTERM else []
    assert sorted(path.name for path in tmp_path.iterdir()) == [*kept, "stderr"]
