"""The way from an artefact back to the raw data, by the records that lie beside what the stages wrote."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cca.errors import CCAError
from cca.files import require
from cca.records.provenance import checksum, read_record, record_of, record_path, written

AGAIN, CHANGED, MISSING = "made again since", "not what its record says", "missing"


@dataclass(frozen=True)
class File:
    """A file or folder that something was made of, or the artefact itself.

    Attributes:
        path: as the record has it, relative to the folder that the stages ran in.
        place: where that is from here.
        record: of the stage that wrote it; None where it was given.
        inputs: what that stage read: its name for the input, the path, the SHA-256 at that time.
    """

    path: str
    place: Path
    record: dict | None
    inputs: list[tuple[str, str, str]] = field(default_factory=list)

    @cached_property
    def sha256(self) -> str | None:
        """Of what is there now; None where nothing is. Records say the rest without reading large files."""
        return checksum(self.place) if self.place.exists() else None

    def state(self, wanted: str) -> str:
        """What became of it since it had the SHA-256 ``wanted``; empty where nothing did."""
        if self.sha256 == wanted:
            return ""
        if self.sha256 is None:
            return MISSING
        own = written(self.record).get(Path(self.path).name) if self.record else None
        return AGAIN if own == self.sha256 else CHANGED


@dataclass(frozen=True)
class Lineage:
    """Files by their recorded paths, the artefact's first, and what became of them since they were read."""

    artefact: str
    files: dict[str, File]

    def problems(self) -> dict[str, str]:
        """`File.state` of every file that is not what one of its readers, or its own record, knew."""
        artefact = self.files[self.artefact]
        read = [(self.artefact, written(artefact.record or {})[Path(artefact.path).name])]
        read += [(path, sha) for file in self.files.values() for _, path, sha in file.inputs]
        states = ((path, self.files[path].state(sha)) for path, sha in read)
        return {path: state for path, state in states if state}


def trace(artefact: Path) -> Lineage:
    """Follow an artefact, or its copy at the top level, to everything that it was made of.

    Raises:
        CCAError: no such file, no record of it, or a damaged record on the way.
    """
    artefact = original(require(artefact))
    record = record_of(artefact)
    assert record is not None  # `original` has seen to it
    root = started_in(artefact, record)
    first = Path(record["output"]["path"]).with_name(artefact.name)
    found: dict[str, File] = {}
    waiting = [str(first)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = _look(root, path)
            waiting += [source for _, source, _ in reversed(found[path].inputs)]
    return Lineage(str(first), found)


def _look(root: Path, path: str) -> File:
    there = root / path
    record = record_of(there)
    entries = record["inputs"] if record else {}
    inputs = [
        (name, entry["path"], entry["sha256"]) for name, several in entries.items() for entry in several
    ]
    return File(path, there, record, inputs)


def original(artefact: Path) -> Path:
    """The file with a record that an artefact is, or is a copy of.

    Artefacts in ``results/`` and ``paper_figures/`` are copies from a tier's folder, ``results/<tier>/``.

    Raises:
        CCAError: there is none.
    """
    if record_of(artefact):
        return artefact
    results = artefact.absolute().parent.parent / "results"
    records = sorted(results.glob(f"*/*/{record_path(artefact).name}"))
    alike = [path.with_name(artefact.name) for path in records if artefact.name in written(read_record(path))]
    for path in alike:
        if path.exists() and checksum(path) == checksum(artefact):
            return path
    for path in alike:
        if not path.exists():
            raise CCAError(f"{path}: missing, which {artefact} copies; have snakemake make it by this name")
    if alike:
        raise CCAError(f"{artefact}: not a copy of {alike[0]} as it is now: edited, or older; make it again")
    raise CCAError(
        f"{artefact}: no record of it, so not written by a stage; give an artefact of the workflow"
    )


def started_in(artefact: Path, record: dict) -> Path:
    """The folder that the relative paths of a record start from."""
    recorded, here = Path(record["output"]["path"]), artefact.absolute().parent
    depth = len(recorded.parent.parts)
    if recorded.is_absolute() or recorded.parent.parts != here.parts[len(here.parts) - depth :]:
        return Path.cwd()
    return here.parents[depth - 1] if depth else here
