"""A short campaign on the cheapest stages, and that the judge of a campaign notices what is lost."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .site import Site, not_clear
from .stages import REPOSITORY, Stage

Counts = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Counts:
    """What a campaign's report counts, by fault."""
    out = tmp_path_factory.mktemp("faults") / "report.md"
    options = ["--kills", "9", "--others", "2", "--runs", "0", "--rules", "heldout", "features"]
    command = [sys.executable, "-m", "tests.faults.campaign", *options, "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.read_text().splitlines()]
    names = rows[0][1:]
    return {row[0]: dict(zip(names, map(int, row[1:]), strict=True)) for row in rows[2:] if row[-1].isdigit()}


@pytest.mark.parametrize(
    "fault", ["kill -9 at a random moment", "kill -9 at a file operation", "damaged state of a training"]
)
def test_a_killed_stage_ends_with_the_same_bytes(counts: Counts, fault: str) -> None:
    assert counts[fault]["survived"] == counts[fault]["injected"] >= 2


@pytest.mark.parametrize("fault", ["truncated input", "bit-flipped input", "read-only folder"])
def test_what_cannot_go_on_says_so_in_one_line(counts: Counts, fault: str) -> None:
    assert counts[fault]["refused"] == counts[fault]["injected"] == 2


def test_no_room_and_two_at_once_lose_nothing(counts: Counts) -> None:
    assert counts["limit of a file's size"]["refused"] >= 1
    assert counts["a stage twice at once"]["injected"] == 2
    assert counts["**all**"]["lost"] == 0


@pytest.fixture
def site(tmp_path: Path) -> tuple[Site, Stage]:
    """A stage that has ended well, in a copy and in the truth."""
    stage = Stage("a", ("a", "--out", "x/a.npz"), (), (Path("x/a.npz"), Path("x/a.log.csv")))
    record = {"output": {"sha256": hashlib.sha256(b"whole").hexdigest()}}
    for name in ("truth", "copy"):
        folder = tmp_path / name / "x"
        folder.mkdir(parents=True)
        (folder / "a.npz").write_bytes(b"whole")
        (folder / "a.log.csv").write_bytes(b"log")
        (folder / "a.provenance.json").write_text(json.dumps(record))
    return Site(tmp_path / "truth", tmp_path / "copy", tmp_path / "log"), stage


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lambda folder: None, ""),
        (lambda folder: (folder / "a.npz").write_bytes(b"who"), "x/a.npz differs"),
        (lambda folder: (folder / "a.log.csv").unlink(), "x/a.log.csv is missing"),
        (lambda folder: (folder / "a.provenance.json").unlink(), "x/a.provenance.json is missing"),
        (lambda folder: (folder / ".a.7.tmp.npz").touch(), ".a.7.tmp.npz was left"),
        (lambda folder: (folder / "a.progress.pt").touch(), "a.progress.pt was left"),
    ],
)
def test_what_is_not_as_undisturbed_is_noticed(
    site: tuple[Site, Stage], spoil: Callable[[Path], object], wrong: str
) -> None:
    there, stage = site
    spoil(there.folder / "x")
    assert there.wrong(stage) == wrong


@pytest.mark.parametrize(
    ("status", "told", "clear"),
    [
        (1, "some\nerror: x/a.npz: damaged; make it again", True),
        (1, "error: x/b.npz: damaged; make it again", False),
        (1, "error: x/a.npz: damaged\nerror: y: and that", False),
        (1, "Traceback (most recent call last):\nerror: x/a.npz: damaged", False),
        (1, "error: unexpected KeyError: 'x/a.npz'", False),
        (1, "", False),
        (-9, "error: x/a.npz: damaged; make it again", False),
    ],
)
def test_a_clear_line_is_one_that_names_the_file(status: int, told: str, clear: bool) -> None:
    assert (not_clear(status, told, Path("x/a.npz")) == "") == clear
