"""Files appear whole or not at all, and damaged ones are one clear line."""

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from cca import checkpoints
from cca.errors import CCAError
from cca.files import (
    CsvLog,
    atomic,
    below,
    check_room,
    read_json,
    read_npz,
    read_yaml,
    sha256,
    write_json,
    write_npz,
)
from cca.files.archives import Archive
from cca.rng import generator


def test_atomic_leaves_the_old_file_and_nothing_else_when_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.txt"
    with atomic(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_atomic_keeps_the_suffix_that_writers_look_at(tmp_path: Path) -> None:
    with atomic(tmp_path / "x.npz") as temporary:
        assert temporary.suffix == ".npz"
        assert temporary.parent == tmp_path
        temporary.touch()


def log(path: Path) -> None:
    with CsvLog(path) as rows:
        for step in range(10_000):
            rows.write(step=step)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".json", lambda path: write_json(path, list(range(10_000)))),
        (".npz", lambda path: write_npz(path, a=generator("test").random(10_000))),
        (".safetensors", lambda path: checkpoints.save(path, nn.Linear(100, 100), {})),
        (".csv", log),
    ],
)
def test_no_room_is_one_line_that_names_the_file_and_leaves_nothing(
    suffix: str, write: Callable, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(CCAError, match=rf"/x{suffix}: File too large; make room for it and run"):
            write(tmp_path / f"x{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_run_begins_only_where_there_is_room(tmp_path: Path) -> None:
    check_room(tmp_path, least=1)
    with pytest.raises(CCAError, match=r"MB left on its disk, less than the 1000000000000 MB that"):
        check_room(tmp_path, least=10**18)
    with pytest.raises(CCAError, match=r"/none: nothing can be written in this folder"):
        check_room(tmp_path / "none")


def test_npz_round_trip(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", a=np.arange(3), b=np.eye(2))
    arrays = read_npz(tmp_path / "x.npz", "b")
    assert list(arrays) == ["b"] and (arrays["b"] == np.eye(2)).all()


@pytest.mark.parametrize("dtype", ["<U2", ">U2"])
def test_texts_in_npz_are_every_character_or_refused(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "x.npz"
    write_npz(path, text=np.array(["a\U0010ffff", "", "\udcff"], dtype))
    assert read_npz(path)["text"].tolist() == ["a\U0010ffff", "", "\udcff"]
    write_npz(path, text=np.array([ord("a"), 0x110000], dtype.replace("U2", "u4")).view(dtype))
    with pytest.raises(CCAError, match="a text of numbers that are no characters"):
        read_npz(path)


def test_arrays_in_fortran_order_and_in_pieces(tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    np.savez(tmp_path / "x.npz", c=array, f=np.asfortranarray(array))
    archive = Archive(tmp_path / "x.npz")
    assert (archive.read("f") == array).all() and (archive.read("c") == array).all()
    assert (np.concatenate(list(archive.stream("c", 1))) == array).all()


def truncated(path: Path) -> None:
    write_npz(path, a=np.random.default_rng(0).integers(255, size=10_000))
    path.write_bytes(path.read_bytes()[:-5000])


def flipped(path: Path) -> None:
    write_npz(path, a=np.random.default_rng(0).integers(255, size=10_000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def pickled(path: Path) -> None:
    np.savez(path, a=np.array([{"a": 1}], dtype=object))


def bare(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.arange(3))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: None, "no such file"),
        (Path.touch, "damaged or not an .npz file"),
        (truncated, "damaged or not an .npz file"),
        (flipped, "damaged or not an .npz file"),
        (pickled, "'a' holds pickled objects, which are never loaded"),
        (lambda path: np.savez(path, a=np.zeros(2, "U1,i4")), "'a' holds structures"),
        (bare, "a bare .npy array"),
        (lambda path: write_npz(path, b=np.arange(3)), "array 'a' is missing; the file holds b"),
    ],
)
def test_bad_npz_is_one_line_naming_the_file(tmp_path: Path, spoil: object, message: str) -> None:
    path = tmp_path / "x.npz"
    spoil(path)
    with pytest.raises(CCAError) as error:
        read_npz(path, "a")
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": [2.5]})
    assert read_json(path) == {"a": [2.5], "b": 1}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [2.5], "b": 1}
    path.write_text('{"a": ')
    with pytest.raises(CCAError, match="not a JSON file"):
        read_json(path)


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_log_is_there_only_when_whole(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), CsvLog(tmp_path / "log.csv") as log:
        log.write(step=0)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_log_names_its_columns_by_the_first_row(tmp_path: Path) -> None:
    with CsvLog(tmp_path / "log.csv") as log:
        log.write(step=0, loss=1.25)
        log.write(step=1, loss=float("nan"))
    assert (tmp_path / "log.csv").read_text().splitlines() == ["step,loss", "0,1.25", "1,nan"]


LAUGHS = "l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [{f'*l{n - 1}, ' * 9}]\n" for n in range(1, 30))
"""Thirty lines for 9^29 letters."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "too large"),
        ("a: &a [*a]", "too large"),
        ("[" * 500, "not valid YAML"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 1\nb: 2\na: 3", "key 'a' is given twice"),
        ("a: 2001-99-99", "not valid YAML"),
        ("a: '\x80'", "not valid YAML"),
        ("# " + "x" * 1_000_000, "more than 1,000,000 bytes"),
    ],
)
def test_yaml_that_is_not_plain_or_not_small_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CCAError, match=message) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: not valid YAML: ") and "\n" not in str(error.value)


def test_anchors_that_tiers_use_are_plain(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a {b: [1, 2]}\nc: {<<: *a, d: *a}")
    assert read_yaml(tmp_path / "x.yaml")["c"] == {"b": [1, 2], "d": {"b": [1, 2]}}


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "", "..", "a\0b"])
def test_a_name_that_leads_out_of_its_folder_is_refused(name: str) -> None:
    with pytest.raises(CCAError, match="is no file below this folder"):
        below(Path("folder"), name)
    assert below(Path("folder"), "a/b..c") == Path("folder/a/b..c")
