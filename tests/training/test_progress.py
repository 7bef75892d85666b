"""Killed training goes on to the same bits; what is of another run is not gone on from."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from torch import nn

from cca import training
from cca.files import CsvLog, read_npz, write_npz
from cca.records.provenance import record_path
from cca.rng import generator
from cca.runner import perform
from cca.settings import validate
from cca.stages import finetune, pairs, pretrain, score, train_classifier, train_tokenizer
from cca.stages.pairs import PairsSettings
from cca.stages.score import ScoreSettings
from cca.training import Batches, Optimisation, optimise, progress
from cca.training.progress import Progress

from ..conftest import MODEL, TOKENIZER, World

OPTIMISATION = {"learning_rate": 3e-3}
TOKENIZER_TRAINING = {
    "steps": 9,
    "batch_size": 7,
    "revive_every": 2,
    "adversarial": {"start": 3, "channels": 4, "layers": 1, "optimisation": OPTIMISATION},
    "optimisation": OPTIMISATION,
}


class Killed(BaseException):
    """What no code catches."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[int]]:
    """``kill_at(step)``: the log refuses to write that step; returns the list of those it wrote."""
    write = CsvLog.write

    def arrange(at: int | None) -> list[int]:
        written = []

        def refusing(log: CsvLog, **row: float) -> None:
            if row["step"] == at:
                raise Killed
            written.append(row["step"])
            write(log, **row)

        monkeypatch.setattr(CsvLog, "write", refusing)
        return written

    return arrange


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a look; with every = 1 each step is kept, with every = 2 each second one."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(progress, "monotonic", lambda: next(seconds))


@pytest.fixture(params=["tokenizer", "classifier", "pretrain", "finetune"])
def stage(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Callable:
    """``run(out=..., progress=...)`` of a stage that trains for 8 or 9 steps."""
    if request.param == "tokenizer":
        settings = {
            "kind": "vq",
            "architecture": TOKENIZER | {"dropout": 0.1},
            "training": TOKENIZER_TRAINING,
        }
        settings |= {"augmentation": {"shift": 1}}
        checked = validate(train_tokenizer.TokenizerSettings, settings, "test")
        return partial(train_tokenizer.run, checked, images=world.images)
    if request.param == "classifier":
        settings = {
            "architecture": {"widths": [4], "pool_size": 2, "spatial_stage": 0},
            "training": {"steps": 9, "batch_size": 7, "muon": 2, "optimisation": OPTIMISATION},
            "augmentation": {"shift": 1},
        }
        checked = validate(train_classifier.ClassifierSettings, settings, "test")
        return partial(train_classifier.run, checked, images=world.images)
    files = {"codes": world.codes, "tokenizer": world.tokenizer}
    if request.param == "pretrain":
        settings = {
            "family": "llamagen",
            "architecture": MODEL | {"dropout": 0.1},
            "steps": 9,
            "batch_size": 30,
        }
        settings |= {"optimisation": OPTIMISATION}
        return partial(pretrain.run, validate(pretrain.PretrainSettings, settings, "test"), **files)
    made = tmp_path / "pairs.npz"
    pairs.run(PairsSettings(visits=2, mask_rate=0.1), codes=world.codes, seed=0, out=made)
    files |= {"base": world.model, "pairs": made}
    score.run(ScoreSettings(dropout=True), **files, seed=0, out=tmp_path / "scores.npz")
    settings = {
        "objective": {"name": "cca", "lam": 1},
        "batch_size": 9,
        "dropout": True,
        "optimisation": OPTIMISATION,
    }
    checked = validate(finetune.FinetuneSettings, settings, "test")
    return partial(finetune.run, checked, **files, scores=tmp_path / "scores.npz", seed=0)


def kept(folder: Path, key: str = "a", every: float = 1) -> Progress:
    return Progress(folder / "state.progress.pt", every, lambda: key)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("every", [1, 2])
def test_a_killed_stage_goes_on_to_the_same_bits(
    stage: Callable, kill_at: Callable, tmp_path: Path, every: float
) -> None:
    stage(out=tmp_path / "whole.safetensors")
    for at in (4, 7):  # killed twice, the second time after it was resumed
        kill_at(at)
        with pytest.raises(Killed):
            stage(out=tmp_path / "again.safetensors", progress=kept(tmp_path, every=every))
        assert not (tmp_path / "again.safetensors").exists()
    written = kill_at(None)
    stage(out=tmp_path / "again.safetensors", progress=kept(tmp_path, every=every))
    assert written[0] == (7 if every == 1 else 6)
    for suffix in (".safetensors", ".log.csv"):
        whole, again = ((tmp_path / name).with_suffix(suffix).read_bytes() for name in ("whole.x", "again.x"))
        assert whole == again


def train(folder: Path, progress: Progress) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    rng = generator("test")

    def loss_of(batch: np.ndarray) -> tuple:
        inputs = torch.from_numpy(rng.random((len(batch), 3))).float() + torch.rand(len(batch), 1)
        return module(inputs).square(), {}

    settings, log = Optimisation(learning_rate=0.1), folder / "log.csv"
    batches = Batches(5, 2, rng)
    optimise(module, batches, loss_of, settings, steps=6, what="test", log=log, progress=progress)
    return module


def resumed_from(folder: Path, kill_at: Callable, progress: Progress) -> int:
    """The first step of a new run."""
    written = kill_at(None)
    train(folder, progress)
    return written[0]


@pytest.mark.usefixtures("clock")
def test_a_state_of_another_run_is_put_aside_and_a_damaged_one_discarded(
    kill_at: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed() -> Path:
        kill_at(3)
        with pytest.raises(Killed):
            train(tmp_path, kept(tmp_path))
        return tmp_path / "state.progress.pt"

    path = killed()
    content = path.read_bytes()
    other = kept(tmp_path, key="b", every=1e9)
    assert resumed_from(tmp_path, kill_at, other) == 0
    aside = tmp_path / "state.progress.other1.pt"  # which the other run, now finished, has left
    assert not path.exists() and aside.read_bytes() == content
    assert f"{path}: kept by other settings" in capsys.readouterr().err
    killed()
    assert resumed_from(tmp_path, kill_at, other) == 0
    assert aside.read_bytes() == content and (tmp_path / "state.progress.other2.pt").is_file()
    aside.replace(path)
    assert resumed_from(tmp_path, kill_at, kept(tmp_path)) == 3
    path.unlink()
    path = killed()
    path.write_bytes(path.read_bytes()[:-200])
    assert resumed_from(tmp_path, kill_at, kept(tmp_path, every=1e9)) == 0
    path = killed()
    state = bytearray(path.read_bytes())
    state[len(state) // 2] ^= 1  # among the parameters, where torch itself would not notice
    path.write_bytes(state)
    assert resumed_from(tmp_path, kill_at, kept(tmp_path, every=1e9)) == 0
    path = killed()
    torch.save({"key": "a", "run": print}, path)  # a pickle that is not plain
    assert resumed_from(tmp_path, kill_at, kept(tmp_path, every=1e9)) == 0
    killed()
    assert resumed_from(tmp_path, kill_at, kept(tmp_path)) == 3


@pytest.mark.usefixtures("clock")
def test_a_command_goes_on_only_where_settings_and_inputs_are_the_same(
    world: World, kill_at: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = tmp_path / "images.npz", tmp_path / "made" / "c.safetensors"
    shutil.copy(world.images, images)
    state = out.with_suffix(".progress.pt")

    def command(seed: int = 0) -> None:
        training = {"steps": 6, "batch_size": 7, "optimisation": OPTIMISATION}
        architecture = {"widths": [4], "pool_size": 2, "spatial_stage": 0}
        given = json.dumps({"architecture": architecture, "training": training, "seed": seed})
        module, schema = "cca.stages.train_classifier", "ClassifierSettings"
        perform("features", module, schema, given, out=out, inputs={"images": images}, keep_every=1)

    def killed_at_3() -> None:
        kill_at(3)
        with pytest.raises(Killed):
            command()
        assert [path.name for path in out.parent.iterdir()] == [state.name]

    def first_step(**changes: int) -> int:
        written = kill_at(None)
        command(**changes)
        assert out.is_file() and not state.exists()
        measured = json.loads(record_path(out).read_text())["measured"]
        assert measured.get("resumed_at_step", 0) == written[0]
        assert (measured.get("seconds_before", 0) > 0) == (written[0] > 0)
        for path in out.parent.iterdir():
            path.unlink()
        return written[0]

    killed_at_3()
    assert first_step() == 3
    killed_at_3()
    assert first_step(seed=1) == 0
    killed_at_3()
    monkeypatch.setattr("cca.records.environment.cpu", lambda: "another processor")
    assert first_step() == 0
    killed_at_3()
    arrays = read_npz(images)
    arrays["train_images"][0] = 0
    write_npz(images, **arrays)
    assert first_step() == 0


def anonymous() -> int:
    """Bytes of this process's memory that are no file's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line]
    return int(line.split()[1]) * 1024


def test_of_a_state_only_what_is_looked_at_is_read(tmp_path: Path) -> None:
    """So that processes that share a large one need no copy each."""

    class Large:
        def state_dict(self) -> dict:
            return {"weights": torch.ones(2**24)}

        def load_state_dict(self, state: dict) -> None:
            self.memory, self.last = anonymous(), state["weights"][-1].item()

    first = kept(tmp_path, every=0)
    assert first.restore({}) == 0
    first.keep({"large": Large()}, 1)
    before, large = anonymous(), Large()
    assert kept(tmp_path).restore({"large": large}) == 1
    assert large.last == 1 and large.memory - before < 2**24  # a quarter of its bytes


@pytest.mark.usefixtures("clock")
def test_a_run_killed_while_it_writes_its_state_keeps_the_last_one(
    kill_at: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, count = torch.save, iter(range(100))

    def breaking(state: dict, stream: BinaryIO) -> None:
        if next(count) == 2:
            stream.write(b"half")
            raise Killed
        save(state, stream)

    monkeypatch.setattr(training.torch, "save", breaking)
    with pytest.raises(Killed):
        train(tmp_path, kept(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.progress.pt"]
    assert resumed_from(tmp_path, kill_at, kept(tmp_path)) == 2
