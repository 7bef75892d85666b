"""Reading and writing files: whole or not at all, and never a pickle."""

import csv
import errno
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cca.errors import CCAError, one_line
from cca.files.archives import Archive

LARGEST_TEXT, LARGEST_YAML, DEEPEST_YAML = 1_000_000, 100_000, 100
"""Most bytes of a YAML file; most keys and values, each as often as aliases name it; most open brackets."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds.

    The temporary name carries the process id, so that a job which outlives its killed parent
    cannot disturb its successor. On failure, an interrupt included, nothing is left behind.

    Raises:
        CCAError: there is no room for the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except Exception as error:
        if (reason := no_room(error)) and not isinstance(error, CCAError):
            raise CCAError(f"{path}: {reason}; make room for it and run the same command again") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def no_room(error: BaseException | None) -> str | None:
    """The system's words for a full disk, quota or limit, where that is what an error came from.

    Torch hides the system's error in the context of its own, safetensors tells its number in the text.
    """
    while error is not None:
        told = re.search(r"\(os error (\d+)\)", str(error))
        number = int(told[1]) if told else getattr(error, "errno", None)
        if number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return os.strerror(number)
        error = error.__context__
    return None


def remove_temporaries(path: Path) -> None:
    """Remove what killed runs left of files that `atomic` made for ``path`` and for others of its stem.

    Only for whoever is alone in writing them.
    """
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp*"):
        left.unlink(missing_ok=True)


def check_room(folder: Path, least: int = 10_000_000) -> None:
    """Raise a one-line `CCAError` if a folder may not be written or has less than ``least`` bytes left."""
    if not os.access(folder, os.W_OK):
        raise CCAError(f"{folder}: nothing can be written in this folder; mend that or choose another place")
    if (free := shutil.disk_usage(folder).free) < least:
        raise CCAError(
            f"{folder}: {free / 1e6:.1f} MB left on its disk, less than the {least / 1e6:.0f} MB that a run "
            "needs in any case; make room and run the same command again"
        )


def require(path: Path) -> Path:
    """Return ``path``, or raise a one-line `CCAError` if there is no such file."""
    if not path.is_file():
        raise CCAError(f"{path}: no such file")
    return path


def below(folder: Path, name: str) -> Path:
    """The file ``name`` of a folder, or a one-line `CCAError` if the name leads out of it."""
    if Path(name).is_absolute() or ".." in Path(name).parts or not name or "\0" in name:
        raise CCAError(f"{folder}: '{name}' is no file below this folder, which is all that may be named")
    return folder / name


def cache_folder(name: str) -> Path:
    """The user's folder for what may be kept between runs and made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cca" / name


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with require(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinity are refused."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file, or raise a one-line `CCAError`."""
    try:
        return json.loads(require(path).read_text())
    except (ValueError, RecursionError) as error:
        raise CCAError(f"{path}: not a JSON file ({error}); delete it and make it again") from None


class CsvLog:
    """A CSV file, a row at a time, which appears whole when the block ends without an error."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> "CsvLog":
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic(self._path))
            self._stream = stack.enter_context(temporary.open("w", newline=""))
            self._closing = stack.pop_all()
        self._writer: csv.DictWriter | None = None
        return self

    def write(self, **row: float) -> None:
        """Add a row; the first one names the columns."""
        if self._writer is None:
            self._writer = csv.DictWriter(self._stream, list(row))
            self._writer.writeheader()
        self._writer.writerow({name: f"{value:.6g}" for name, value in row.items()})

    def state_dict(self) -> dict:
        """The rows so far."""
        self._stream.flush()
        with Path(self._stream.name).open(newline="") as stream:
            return {"text": stream.read()}

    def load_state_dict(self, state: dict) -> None:
        """Begin with the rows of another log."""
        self._stream.write(state["text"])
        header = next(csv.reader(state["text"].splitlines()))
        self._writer = csv.DictWriter(self._stream, header)

    def __exit__(self, *error: Any) -> None:
        self._closing.__exit__(*error)


def write_npz(path: Path, **arrays: Any) -> None:
    """Write a compressed ``.npz``."""
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def write_safetensors(path: Path, save: Callable[..., None], tensors: dict, header: dict) -> None:
    """Write tensors by ``save``, a ``save_file`` of safetensors, with ``header`` (plain values) as JSON."""
    with atomic(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # that of other files; safetensors lets the owner alone read
        save(tensors, temporary, metadata={"cca": json.dumps(header, sort_keys=True)})
        temporary.chmod(mode)


def read_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read the arrays ``names`` of an ``.npz`` (all of them if none is named).

    Raises:
        CCAError: missing or truncated file, missing array, or an array that holds pickled objects.
    """
    archive = Archive(path)
    return {name: archive.read(name) for name in names or archive.names}


class _Plain(yaml.SafeLoader):
    """YAML without pickled objects, without keys that are given twice, and of a size that is to be seen.

    An alias is a few letters for a whole section, so that a short text can stand for one of any size.
    """

    def get_single_node(self) -> yaml.Node | None:
        """The document, after its sections are counted as often as it names them."""
        node = super().get_single_node()
        if node is not None and _nodes(node, {}) > LARGEST_YAML:
            raise yaml.constructor.ConstructorError(
                None, None, "its aliases make it too large", node.start_mark
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """A mapping all of whose keys differ."""
        seen = set()
        for key in (key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"):
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' is given twice", node.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _nodes(node: yaml.Node, known: dict[int, float]) -> float:
    """Number of nodes with every alias written out; infinite where one is a part of itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")
        pairs = node.value if isinstance(node, yaml.MappingNode) else [node.value]
        parts = (part for pair in pairs for part in pair)
        known[id(node)] = 1 + sum(_nodes(part, known) for part in parts)
    return known[id(node)]


def read_yaml(path: Path) -> Any:
    """Read a YAML file, or raise a one-line `CCAError`."""
    if require(path).stat().st_size > LARGEST_TEXT:
        raise CCAError(f"{path}: not valid YAML: more than {LARGEST_TEXT:,} bytes")
    try:
        return parse_yaml(path.read_text(), str(path))
    except UnicodeDecodeError as error:
        raise CCAError(f"{path}: not valid YAML: {error}") from None


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML (or JSON), or raise a one-line `CCAError` that starts with ``where``."""
    depth = accumulate((character in "[{") - (character in "]}") for character in text if character in "[]{}")
    if max(depth, default=0) > DEEPEST_YAML:  # the parser takes minutes for some thousands
        raise CCAError(f"{where}: not valid YAML: more than {DEEPEST_YAML} brackets in each other")
    try:
        return yaml.load(text, _Plain)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CCAError(f"{where}: not valid YAML: {one_line(error)}") from None
