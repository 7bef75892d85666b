"""Checksums of files from elsewhere: given, or recorded at first use; they hold from then on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from cca.errors import CCAError
from cca.files import read_json, sha256, write_json

Sha256 = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[0-9a-fA-F]{64}$")]


def known(out: Path) -> dict[str, str]:
    """What was recorded beside ``out``: the SHA-256 of each file by its name.

    Raises:
        CCAError: something else was.
    """
    found = read_json(_record(out)) if _record(out).is_file() else {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise CCAError(f"{_record(out)}: not checksums of files by their names; delete it")
    return found


def remember(out: Path, name: str, checksum: str) -> None:
    """Record beside ``out`` that the file called ``name`` has this SHA-256."""
    write_json(_record(out), known(out) | {name: checksum})


@contextmanager
def held(path: Path, out: Path, given: str | None) -> Iterator[str]:
    """The SHA-256 of a file that ``out`` is made of, held against the one given, or recorded beside ``out``.

    It is recorded if the block comes to its end, for at its first use a file may prove to be the wrong one.

    Raises:
        CCAError: another file than is wanted, or than at first use.
    """
    found, wanted = sha256(path), given or known(out).get(str(path))
    if wanted not in (None, found):
        mend = "correct the key 'sha256'" if given else f"delete {_record(out)}"
        raise CCAError(
            f"{path}: its SHA-256 is {found}, not {wanted}: damaged, or another file than "
            f"{'was wanted' if given else 'at its first use'}; fetch it again or, if it is right, {mend}"
        )
    yield found
    remember(out, str(path), found)


def _record(out: Path) -> Path:
    return out.with_name(f"{out.stem}.checksums.json")
