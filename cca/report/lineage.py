"""A lineage as text: a tree from an artefact, or from one number of a table, to the raw data."""

import json
from collections.abc import Iterator
from pathlib import Path

from cca.errors import CCAError
from cca.records.lineage import AGAIN, CHANGED, MISSING, File, Lineage, original, trace
from cca.report.numbers import check, find

MEND = {
    AGAIN: "have snakemake make again what was made of it before",
    CHANGED: "delete it, have snakemake make it by this name, then what was made of it",
    MISSING: "have snakemake make it by this name",
}
"""What to do about a state of a file that a stage made."""


def show(artefact: Path, row: str | None, column: str | None, *, as_json: bool = False) -> None:
    """Print what an artefact was made of, or of a table's number in ``row`` and ``column``.

    Raises:
        CCAError: as `cca.records.lineage.trace` and `cca.report.numbers.find`; and after all is printed,
            files that are not what the records say.
    """
    if (row is None) != (column is None):
        raise CCAError("--row and --column go together: they name one number of a table")
    lineage = trace(artefact)
    number = None if row is None or column is None else find(original(artefact), row, column)
    problems = lineage.problems()
    if as_json:
        files = {path: {"sha256": file.sha256, "record": file.record} for path, file in lineage.files.items()}
        told = {"artefact": lineage.artefact, "files": files, "problems": problems}
        told |= {"number": vars(number)} if number else {}
        print(json.dumps(told, indent=2, sort_keys=True))
    else:
        if number:
            print(f"{number.column} of {number.row}: {number.value}")
            for path, value in number.files.items():
                print(f"  {'' if value is None else f'{value:.6g}  '}{path}")
        print(*tree(lineage, *(number.files if number else ())), sep="\n")
    refuse_changed(lineage)
    if number:
        check(original(artefact), number)


def refuse_changed(lineage: Lineage, *, may_be_deleted: bool = False) -> None:
    """Raise a `CCAError` if a file is not what one of its readers, or its own record, knew.

    With ``may_be_deleted`` it may be missing where its record is still there.
    """

    def matters(path: str, state: str) -> bool:
        deleted = state == MISSING and lineage.files[path].record is not None
        return not (may_be_deleted and deleted)

    problems = {path: state for path, state in lineage.problems().items() if matters(path, state)}
    if problems:
        path, state = next(iter(problems.items()))
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        way = MEND[state] if lineage.files[path].record else "put back what was read"
        raise CCAError(f"{path}: {state}{more}; {way}")


def tree(lineage: Lineage, *starts: str) -> Iterator[str]:
    """The lines of a drawn tree, from each of ``starts`` (else the artefact) down; what is shared, once."""
    drawn: set[str] = set()
    problems = lineage.problems()

    def line(path: str, state: str) -> str:
        file = lineage.files[path]
        told = "(above)" if path in drawn and file.inputs else described(file)
        return f"{path}  {told}" + (f"  ** {state} **" if state else "")

    def below(path: str, indent: str) -> Iterator[str]:
        if path in drawn:
            return
        drawn.add(path)
        inputs = lineage.files[path].inputs
        for number, (name, source, wanted) in enumerate(inputs, start=1):
            branch, more = ("└─ ", "   ") if number == len(inputs) else ("├─ ", "│  ")
            yield f"{indent}{branch}{name}: {line(source, lineage.files[source].state(wanted))}"
            yield from below(source, indent + more)

    for path in starts or (lineage.artefact,):
        yield line(path, problems.get(path, ""))
        yield from below(path, "")


def described(file: File) -> str:
    """What made a file, in a few words."""
    if (record := file.record) is None:
        return "given"
    words = [record["stage"], *source(record)]
    words += [f"{key} {value}" for key, value in record["arguments"].items() if key in ("seed", "shard")]
    words += [f"{record['wall_seconds']:g} s", record["started"][:10]]
    if "commit" in (code := record["code"]):
        words.append(f"commit {code['commit'][:9]}" + (" with changes" if code["dirty"] else ""))
    return ", ".join(words)


def source(record: dict) -> list[str]:
    """Where the raw data come from, if a stage reads what no record tells of: its source or URL."""
    settings = record["settings"]
    if record["stage"] == "data":
        return [f"source {settings['source']}", *([settings["root"]] if settings.get("root") else [])]
    return [settings["url"]] if record["stage"] == "fetch" else []
