"""The record beside an artefact, and the lock on it while it is made."""

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from threading import Timer

import pytest

from cca.errors import CCAError
from cca.files import locks, read_json
from cca.files.locks import exclusive
from cca.records import codebase, provenance
from cca.records.environment import PACKAGES, cpu
from cca.records.provenance import checksum, record_of, record_path, recorded, unchanged
from cca.settings import Settings


class Some(Settings):
    """Settings of a stage."""

    a: int = 1


def make(out: Path, content: bytes = b"out", inputs: dict | None = None, **more: object) -> dict:
    """Run a stage that writes ``content``; returns its record."""
    with recorded("stage", "cca.stages.score", Some(), inputs or {}, out, **more) as measured:
        out.write_bytes(content)
        measured |= {"steps": 7}
    return read_json(record_path(out))


def test_record_names_inputs_and_output_by_content(tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.npz"
    source.write_bytes(b"in")
    record = make(out, inputs={"source": [source, source]}, arguments={"seed": 3})
    entry = {"path": str(source), "sha256": hashlib.sha256(b"in").hexdigest()}
    assert record["inputs"] == {"source": [entry, entry]}
    assert record["output"]["sha256"] == hashlib.sha256(b"out").hexdigest()
    assert (record["settings"], record["arguments"], record["measured"]) == (
        {"a": 1},
        {"seed": 3},
        {"steps": 7},
    )
    assert record["code"]["version"]
    assert {"torch", "numpy", "pillow", "mlxtend"} <= set(record["environment"]["packages"])
    assert {path.name for path in tmp_path.iterdir()} == {"in.txt", "out.npz", "out.provenance.json"}


def test_a_missing_input_is_named_before_anything_runs(tmp_path: Path) -> None:
    old = make(tmp_path / "out")
    with (
        pytest.raises(CCAError, match=r"absent.npz: no such file"),
        recorded(
            "stage", "cca.stages.score", Some(), {"source": [tmp_path / "absent.npz"]}, tmp_path / "out"
        ),
    ):
        pytest.fail("ran")
    assert read_json(record_path(tmp_path / "out")) == old


def test_records_of_neighbours_do_not_collide(tmp_path: Path) -> None:
    names = ["model.safetensors", "codes.npz", "shard_0.npz", "shard_1.npz", "table2.csv", "metrics.json"]
    assert len({record_path(tmp_path / name) for name in names}) == len(names)


def test_no_record_of_an_old_output_lies_beside_a_new_one(tmp_path: Path) -> None:
    make(tmp_path / "out", b"old")
    with (
        pytest.raises(KeyboardInterrupt),
        recorded("stage", "cca.stages.score", Some(), {}, tmp_path / "out"),
    ):
        assert not record_path(tmp_path / "out").exists()
        (tmp_path / "out").write_bytes(b"new")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_paths_below_the_working_directory_are_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for path in ("a", "../b"):
        Path(path).write_text("")
    inputs = {"some": [tmp_path / "here/a", Path("a"), Path("../b"), tmp_path / "b"]}
    record = make(tmp_path / "here/out", inputs=inputs)
    outside = str(tmp_path / "b")
    assert [entry["path"] for entry in record["inputs"]["some"]] == ["a", "a", outside, outside]
    assert record["output"]["path"] == "out"


def test_a_folder_is_its_files_names_and_content(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.png").write_bytes(b"a")
    (folder / "b.png").write_bytes(b"b")
    before = make(tmp_path / "out", inputs={"images": [folder]})["inputs"]["images"]
    assert before == [{"path": str(folder), "sha256": checksum(folder)}]
    (folder / ".hidden").touch()
    assert checksum(folder) == before[0]["sha256"]
    (folder / "b.png").rename(folder / "c.png")
    renamed = checksum(folder)
    (folder / "c.png").write_bytes(b"c")
    assert len({before[0]["sha256"], renamed, checksum(folder)}) == 3


@pytest.fixture
def another(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that is making ``out`` until it is ended."""
    code = f"""if True:
        import time
        from pathlib import Path
        from cca.files.locks import exclusive
        with exclusive(Path({str(tmp_path / "out")!r})):
            print("locked", flush=True)
            time.sleep(600)"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_two_processes_never_make_the_same_output(another: subprocess.Popen, tmp_path: Path) -> None:
    with pytest.raises(CCAError, match=r"out: another process is writing it; wait for it or end it"):
        make(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    make(tmp_path / "beside")


def test_who_waits_has_the_lock_once_it_is_free(another: subprocess.Popen, tmp_path: Path) -> None:
    Timer(0.3, another.kill).start()
    with exclusive(tmp_path / "out", wait=True):
        assert another.wait(60) != 0


def test_a_killed_process_locks_nothing_and_its_half_files_go(
    another: subprocess.Popen, tmp_path: Path
) -> None:
    for name in (".out.17.tmp.npz", ".out.log.17.tmp.csv", ".out2.17.tmp.npz"):
        (tmp_path / name).write_bytes(b"half")
    another.kill()
    another.wait()
    make(tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.provenance.json", ".out2.17.tmp.npz"}


def test_a_lock_that_was_removed_while_waiting_for_it_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder removes its file between another's opening it and locking it."""
    flock, locked = locks.fcntl.flock, []

    def late(stream: object, how: int) -> None:
        if not locked:
            (tmp_path / ".out.lock").unlink()
        flock(stream, how)
        locked.append(stream)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    with exclusive(tmp_path / "out"):
        assert len(locked) == 2
        with pytest.raises(CCAError, match="another process"), exclusive(tmp_path / "out"):
            pytest.fail("locked twice")
    assert list(tmp_path.iterdir()) == []


def git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A made-up folder with the package, of one module ``cca.made_up``, and other files."""
    root = tmp_path / "checkout"
    for name in ("cca/__init__.py", "cca/made_up.py", "cca/objectives/dpo.py", "workflow/smoke.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name in ("Snakefile", "README.md", "docs/index.md", "tests/test_made_up.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    monkeypatch.setattr(provenance.cca, "__file__", str(root / "cca/__init__.py"))
    monkeypatch.setattr(provenance.cca, "__path__", [*provenance.cca.__path__, str(root / "cca")])
    yield root
    codebase._read.cache_clear()


def commit(folder: Path) -> None:
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "some")


def test_the_package_outside_of_a_checkout_has_no_commit(checkout: Path) -> None:
    assert set(provenance.code_version("cca.stages.score")) == {"version", "sha256"}


def test_a_new_file_of_the_package_makes_it_dirty(checkout: Path) -> None:
    commit(checkout)
    (checkout / "notes.txt").touch()
    version = provenance.code_version("cca.stages.score")
    assert len(version["commit"]) == 40 and version["dirty"] is False
    (checkout / "cca/objectives/hinge.py").touch()
    assert provenance.code_version("cca.stages.score")["dirty"] is True


@pytest.mark.parametrize("name", ["cca/objectives/dpo.py", "workflow/smoke.yaml", "Snakefile"])
def test_a_changed_file_that_results_depend_on_makes_it_dirty(checkout: Path, name: str) -> None:
    commit(checkout)
    (checkout / name).write_text("# changed")
    assert provenance.code_version("cca.stages.score")["dirty"] is True


def test_files_that_a_container_leaves_out_make_nothing_dirty(checkout: Path) -> None:
    """It has all that results depend on, as apptainer.def says."""
    commit(checkout)
    for name in ("docs", "tests"):
        shutil.rmtree(checkout / name)
    assert provenance.code_version("cca.stages.score")["dirty"] is False
    definition = Path(provenance.__file__).parents[2] / "apptainer.def"
    for path in provenance.RESULTS_DEPEND_ON:
        name = path.removeprefix(":/")
        assert f"    {name} /opt/cca/{name}\n" in definition.read_text()


def test_what_is_edited_while_a_stage_runs_is_not_recorded(checkout: Path, tmp_path: Path) -> None:
    commit(checkout)
    before = provenance.code_version("cca.made_up")
    codebase._read.cache_clear()
    with recorded("stage", "cca.made_up", Some(), {}, tmp_path / "out"):
        (checkout / "cca/made_up.py").write_text("x = 1")
        commit(checkout)
        (checkout / "Snakefile").write_text("x = 2")
        (tmp_path / "out").touch()
    assert read_json(record_path(tmp_path / "out"))["code"] == before
    codebase._read.cache_clear()
    after = provenance.code_version("cca.made_up")
    assert all(after[name] != before[name] for name in ("sha256", "commit", "dirty"))


def test_a_plug_in_that_a_stage_loads_counts(checkout: Path, tmp_path: Path) -> None:
    (checkout / "cca/loaded_late.py").write_text("x = 1")
    for name in ("alone", "more"):
        with recorded("stage", "cca.made_up", Some(), {}, tmp_path / name):
            (tmp_path / name).touch()
            if name == "more":
                import_module("cca.loaded_late")
    sys.modules.pop("cca.loaded_late")
    codes = [read_json(record_path(tmp_path / name))["code"] for name in ("alone", "more")]
    assert codes[0]["sha256"] != codes[1]["sha256"]


def test_all_declared_dependencies_are_recorded() -> None:
    root = Path(provenance.__file__).parents[2]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    assert sorted(re.match(r"[\w-]+", each)[0] for each in declared) == PACKAGES


def test_the_checksum_of_code_is_of_the_stage_and_of_plug_ins_loaded_for_it() -> None:
    alone = provenance.code_version("cca.stages.score", [])["sha256"]
    assert alone == codebase.digest("cca.stages.score")
    others = ["numpy", "cca.cli", "cca.cli.options", "cca.runner", "cca.records.provenance"]
    assert provenance.code_version("cca.stages.score", others)["sha256"] == alone
    with_plug_in = provenance.code_version("cca.stages.score", ["cca.objectives.dpo"])["sha256"]
    assert with_plug_in == codebase.digest("cca.stages.score", "cca.objectives.dpo") != alone


def test_the_processor_by_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: b\n")
    assert cpu(tmp_path / "cpuinfo") == "Some CPU @ 2 GHz"
    assert cpu(tmp_path / "absent")


def test_an_input_that_is_not_what_its_stage_wrote_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "codes.npz"
    make(source)
    make(tmp_path / "out", inputs={"codes": [source]})
    source.write_bytes(b"half")
    with (
        pytest.raises(
            CCAError, match=r"codes.npz: not what its stage wrote, .*: damaged or edited; delete it, have"
        ),
        recorded("stage", "cca.stages.score", Some(), {"codes": [source]}, tmp_path / "out"),
    ):
        pytest.fail("ran")
    make(source, b"half")
    assert make(tmp_path / "out", inputs={"codes": [source]})["inputs"]["codes"][0] == unchanged(source)


def test_what_a_stage_writes_beside_its_output_is_recorded_and_what_was_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "model.png").write_bytes(b"not of the stage")
    for content in (b"first", b"again"):
        with recorded("stage", "cca.stages.score", Some(), {}, tmp_path / "model.safetensors"):
            for name in ("model.safetensors", "model.log.csv", "model.progress.pt"):
                (tmp_path / name).write_bytes(content)
    record = read_json(tmp_path / "model.provenance.json")
    assert record["beside"] == {"model.log.csv": hashlib.sha256(b"again").hexdigest()}
    log = tmp_path / "model.log.csv"
    assert record_of(log) == record and record_of(tmp_path / "model.png") is None
    assert unchanged(log)["sha256"] == record["beside"]["model.log.csv"]
    log.write_bytes(b"edited")
    with pytest.raises(CCAError, match=r"model.log.csv: not what its stage wrote"):
        unchanged(log)
    assert unchanged(tmp_path / "model.png")


@pytest.mark.parametrize("content", ["", "[]", '{"output": 3}', '{"output": {"path": "codes.npz"}}', "\x00"])
def test_a_damaged_record_is_one_line(tmp_path: Path, content: str) -> None:
    make(tmp_path / "codes.npz")
    (tmp_path / "codes.provenance.json").write_text(content)
    with pytest.raises(CCAError, match=r"codes.provenance.json: damaged, or not a record of a stage; delete"):
        unchanged(tmp_path / "codes.npz")
