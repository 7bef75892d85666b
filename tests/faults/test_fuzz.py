"""A slice of the campaign against the loaders, and the campaign's own ability to see what is wrong."""

import pickle
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import numpy as np
import pytest

from cca.data import codes, files
from cca.errors import CCAError

from . import fuzz
from .corpus import Entry, make
from .mutations import Payload, lists, outside

CASES = 300


def test_every_file_is_loaded_or_refused_in_one_line(tmp_path: Path) -> None:
    cases = list(fuzz.campaign(tmp_path, seed=1, cases=CASES))
    assert [case for case in cases if case.outcome == "lost"] == []
    outcomes = Counter(case.outcome for case in cases)
    assert len(cases) == CASES and min(outcomes["loaded"], outcomes["refused"]) > CASES / 20


def unpickled(path: Path) -> None:
    """What no loader may do."""
    pickle.loads(path.read_bytes())


def broken(path: Path) -> None:
    """A message with what is no character, which NumPy makes strings of and no pickle is read with."""
    raise CCAError(f"{path}: {np.array([97, 0x110000], np.uint32).view('U2')[0]}")


def payload(data: bytes, rng: Random, canary: Path) -> bytes:
    return pickle.dumps(Payload(canary))


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (unpickled, "a pickle was executed"),
        (lambda path: 1 / 0, "ZeroDivisionError"),
        (broken, "not one line of text: "),
        (lambda path: path.with_name("stray").touch(), "a file appeared"),
        (lambda path: (path.parents[1] / "escaped").touch(), "a file appeared: ['escaped']"),
    ],
)
def test_the_campaign_sees_what_must_not_be(
    tmp_path: Path, read: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.setattr(fuzz, "MUTATIONS", [payload])
    case = fuzz.run([Entry("a loader", tmp_path / "file", read)], tmp_path, seed=0, number=0)
    assert (case.outcome, case.loader) == ("lost", "a loader") and told in case.told


def test_the_campaign_sees_what_is_read_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("corpus", "scratch"):
        (tmp_path / name).mkdir()
    entries = [entry for entry in make(tmp_path / "corpus") if lists(entry.path.read_bytes())]
    assert {entry.name for entry in entries} == {"codes", "images"}
    monkeypatch.setattr(fuzz, "MUTATIONS", [outside])

    def cases() -> list[fuzz.Case]:
        return [fuzz.run([entry], tmp_path, 0, number) for entry in entries for number in range(8)]

    assert all("is no file below this folder" in case.told for case in cases())
    for module in (codes, files):
        monkeypatch.setattr(module, "below", lambda folder, name: folder / name)
    assert {case.told for case in cases()} == {"a file was read from outside of its folder"}


def test_mutations_follow_from_their_seed(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4
    for mutate in fuzz.MUTATIONS:
        first, again = ([mutate(data, Random(seed), tmp_path) for seed in range(20)] for _ in range(2))
        assert first == again and len(set(first)) > 1


def spoilt(entries: list[Entry], folder: Path, seed: int, first: int, results: Connection) -> None:
    results.send_bytes(b"\xff")


@pytest.mark.parametrize(
    ("work", "told"), [(fuzz._work, "not one line of text: "), (spoilt, "an answer that cannot be read")]
)
def test_no_answer_ends_the_campaign(
    tmp_path: Path, work: Callable, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.setattr(fuzz, "make", lambda folder: [Entry("a loader", tmp_path / "file", broken)])
    monkeypatch.setattr(fuzz, "MUTATIONS", [payload])
    monkeypatch.setattr(fuzz, "_work", work)
    cases = list(fuzz.campaign(tmp_path, seed=0, cases=2))
    assert [(case.number, case.outcome) for case in cases] == [(0, "lost"), (1, "lost")]
    assert all(case.told.startswith(told) for case in cases)
