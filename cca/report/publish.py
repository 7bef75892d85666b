"""Publishing: a tier's tables, claims and figures in one folder, with a page for readers who run nothing.

The page is a function of the folder's other files (`page`), so that it can be held against them (`check`).
"""

import io
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image

from cca import markdown, plugins
from cca.config import Tier
from cca.errors import CCAError
from cca.files import read_json, require, sha256, write_json
from cca.records.lineage import File, Lineage, trace
from cca.records.provenance import record_path, unchanged
from cca.report import agreement
from cca.report.claims.markdown import glance
from cca.report.lineage import refuse_changed
from cca.report.tables._readable import readable

LIMIT = 1_500_000
"""Bytes of a tier's folder."""
WIDTH = 1100
"""Pixels of a figure's width: 200 to the inch at column width."""
TRUE = 700_000
"""Bytes of a picture in more than 256 colours: samples, not plots."""

PAGE = """# {benchmark}: what was measured

Measured with `{config}` {dates} and gathered by `cca publish --tier {tier}`. Each command
below makes its artefact anew, with the numbers of your machine and data. Rows whose source is *reported*
are the paper's, on other data: never compare across benchmarks. Columns, figures and verdicts are explained
in [Reading the results](../../reading.md).
{remarks}
{origin}
{sections}
"""
LINES = {"data": "data", "machine": "machines", "code": "commits", "software": "software"}
"""What the page says of where its numbers come from, and its key in ``provenance.json``."""
STAGES = ["stage", "jobs", "minutes", "longest", "MiB"]
"""Of every stage: how many jobs, minutes of all and of the longest, the largest peak of memory."""
ALSO = {"pitfalls": "Why is my FID different?", "theory": "The theory in exact small worlds"}


def run(tier: Tier, *, name: str, results: Path, out: Path, note: str = "") -> int:
    """Gather the tier ``name`` from ``results`` in the folder ``out``, whose older content is replaced.

    ``note`` is what a reader has to know beside, e.g. of the data: it is shown above the numbers.

    Returns:
        Bytes of all files.

    Raises:
        CCAError: ``out`` is something else than a published page, an artefact is not made, is not what its
            record says, was made of what changed since or with other settings than the tier's, or all
            together are too large.
    """
    sources = {f"tables/{table}.csv": plugins.title("cca.report.tables", table) for table in tier.tables}
    sources |= {
        f"figures/{figure}.csv": plugins.title("cca.report.figures", figure) for figure in tier.figures
    }
    others = {"claims": "The paper's claims", **ALSO}
    sources |= {f"{key}/{key}.csv": title for key, title in others.items() if getattr(tier, key)}
    config = f"tier={name} preset={tier.preset}" if tier.preset else f"tier={name}"
    _refuse_to_replace(out, results, config)
    _refuse_unmade(results, sources, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary, out.name)
        folder.mkdir()
        for source in sources:
            _gather(results / source, folder)
        files = _files(results / source for source in sources)
        agreement.check(tier, name, results, files)
        about = {
            "tier": name,
            "config": config,
            "benchmark": tier.benchmark,
            "note": note,
            "left_out": [
                plugins.title("cca.report.figures", figure)
                for figure in plugins.names("cca.report.figures")
                if figure not in tier.figures
            ],
            "artefacts": [
                {"kind": Path(source).parts[0], "name": Path(source).stem, "title": title}
                for source, title in sources.items()
            ],
            **summary([file.record for file in files if file.record]),
            "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
        }
        write_json(folder / "provenance.json", about)
        (folder / "README.md").write_text(page(folder))
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size > LIMIT:
            raise CCAError(f"{out}: {size} bytes, but at most {LIMIT} may be published: show fewer figures")
        if out.exists():
            out.rename(Path(temporary, "older"))
        folder.rename(out)
    return size


def _refuse_to_replace(out: Path, results: Path, config: str) -> None:
    """Raise a `CCAError` if ``out`` is or holds the results, or is anything but the page of ``config``."""
    if results.resolve().is_relative_to(out.resolve()):
        raise CCAError(f"{out}: would take the place of the results themselves; name another folder")
    if not out.exists():
        return
    about = out / "provenance.json"
    if not about.is_file():
        raise CCAError(f"{out}: there already, and no published page; remove it or name another folder")
    if (older := read_json(about).get("config")) != config:
        raise CCAError(f"{out}: the page of '{older}', not of '{config}'; remove it or name another folder")


def _refuse_unmade(results: Path, sources: Iterable[str], config: str) -> None:
    """Raise a `CCAError` if an artefact, what lies beside it, or its record is not there."""
    whole = {source: [*_parts(results / source), record_path(results / source)] for source in sources}
    if unmade := [source for source, files in whole.items() if not all(map(Path.is_file, files))]:
        first = Path(unmade[0])
        more, made = "", command(first.parent.name, first.stem, config)
        if len(unmade) > 1:
            more, made = f" (and {len(unmade) - 1} more)", f"snakemake --config {config}"
        raise CCAError(f"{results / first}: not made yet{more}; run '{made}' first")


def _parts(source: Path) -> list[Path]:
    """An artefact's CSV, and the picture or the page beside it."""
    beside = {"figures": [".png"], "tables": []}.get(source.parent.name, [".md"])
    return [source, *map(source.with_suffix, beside)]


def _gather(source: Path, folder: Path) -> None:
    """Copy an artefact into the folder."""
    for path in _parts(source):
        unchanged(path)
        if path.suffix == ".png":
            (folder / path.name).write_bytes(shrunk(path))
        else:
            shutil.copyfile(path, folder / path.name)


def shrunk(path: Path) -> bytes:
    """A PNG at most `WIDTH` wide: in 256 colours, unless that shows and the true ones fit `TRUE`."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    fewer = picture.quantize(256, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(picture, np.int16) - np.asarray(fewer.convert("RGB"))).mean()
    true = _png(picture)
    return true if error > 0.5 and len(true) <= TRUE else _png(fewer)


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _files(artefacts: Iterable[Path]) -> list[File]:
    """Artefacts and all that they were made of, each once; a `CCAError` where one is not what was read.

    Samples may have been deleted to save room: their records say the rest.
    """
    found: dict[str, File] = {}
    for artefact in artefacts:
        lineage = trace(artefact)
        files = {path: found.setdefault(path, file) for path, file in lineage.files.items()}
        refuse_changed(Lineage(lineage.artefact, files), may_be_deleted=True)
    return list(found.values())


def summary(records: list[dict]) -> dict:
    """What many records have in common: dates, machines, software, code, and what each stage took."""
    dates = sorted(record["started"][:10] for record in records)
    places = [record["environment"] for record in records]
    packages = {f"{name} {version}" for place in places for name, version in place["packages"].items()}
    frame = pd.DataFrame(
        {
            "stage": [record["stage"] for record in records],
            "minutes": [seconds(record) / 60 for record in records],
            "memory": [record["peak_memory_bytes"] / 2**20 for record in records],
        }
    )
    stages = [
        {
            "stage": stage,
            "jobs": len(jobs),
            "minutes": round(jobs["minutes"].sum(), 2),
            "longest": round(jobs["minutes"].max(), 2),
            "MiB": round(jobs["memory"].max()),
        }
        for stage, jobs in frame.groupby("stage")
    ]
    return {
        "first": dates[0],
        "last": dates[-1],
        "data": sorted({_data(record) for record in records if record["stage"] == "data"}),
        "machines": sorted({_machine(place) for place in places}),
        "software": sorted({f"Python {place['python']}" for place in places} | packages),
        "commits": sorted({_commit(record["code"]) for record in records}),
        "stages": sorted(stages, key=lambda stage: -stage["minutes"]),
    }


def seconds(record: dict) -> float:
    """Duration of a job, with what it spent before it was killed and resumed."""
    return record["wall_seconds"] + record["measured"].get("seconds_before", 0)


def _data(record: dict) -> str:
    """What stage ``data`` read."""
    settings, counts = record["settings"], record["measured"]
    images = f"{counts['train']:,} training and {counts['heldout']:,} held-out images"
    content = record["output"]["sha256"][:12]
    return f"source {settings['source']}, {images} of {counts['classes']:,} classes, SHA-256 {content}"


def _machine(place: dict) -> str:
    return f"{place['device']}, {place['threads']} thread(s) a job"


def _commit(code: dict) -> str:
    changed = " with changes" if code.get("dirty") else ""
    return f"{code['version']}, commit {code.get('commit', 'unknown')}{changed}"


def command(kind: str, name: str, config: str) -> str:
    """What makes an artefact, with ``config`` such as ``tier=mini``."""
    target = f"paper_figures/{name}.pdf" if kind == "figures" else f"results/{name}.csv"
    return f"snakemake {target} --config {config}"


def page(folder: Path) -> str:
    """The page of a folder, made of its CSVs and its ``provenance.json``."""
    about = read_json(folder / "provenance.json")
    lines = [f"| {key} | {'; '.join(about[name])} |" for key, name in LINES.items()]
    sections = [_section(folder, about["config"], **artefact) for artefact in about["artefacts"]]
    stages = markdown.table(pd.DataFrame(about["stages"], columns=STAGES))
    took = "Minutes of all jobs of a stage and of the longest one; the largest peak of memory in MiB."
    sections.append(f"## What it took\n\n{took}\n\n{stages}")
    origin = "\n".join(["| | |", "|---|---|", *lines, ""])
    shown = {key: about[key] for key in ("benchmark", "tier", "config")}
    first, last = about["first"], about["last"]
    shown["dates"] = f"on {first}" if first == last else f"from {first} to {last}"
    left_out = [f"Not in this tier: {title}." for title in about["left_out"]]
    remarks = "".join(f"\n{remark}\n" for remark in [about["note"], *left_out] if remark)
    return PAGE.format(**shown, remarks=remarks, origin=origin, sections="\n\n".join(sections))


def _section(folder: Path, config: str, kind: str, name: str, title: str) -> str:
    frame = pd.read_csv(require(folder / f"{name}.csv"))
    link = f"[{name}.csv]({name}.csv)"
    if kind == "tables":
        content = markdown.table(readable(frame))
    elif kind == "figures":
        content = f"![{title}]({name}.png)"
    else:
        content = glance(frame) if kind == "claims" else ""
        link = f"[{name}.md]({name}.md), {link}"
    parts = [f"## {title}", f"```sh\n{command(kind, name, config)}\n```", content, f"All numbers: {link}"]
    return "\n\n".join(part for part in parts if part)


def check(folder: Path) -> None:
    """Raise a `CCAError` unless a published folder is whole and its page says what its files say."""
    listed = read_json(folder / "provenance.json")["files"]
    present = {path.name for path in folder.iterdir()} - {"README.md", "provenance.json"}
    if strays := present ^ set(listed):
        raise CCAError(f"{folder}: {min(strays)} is missing or not of this page; publish the tier again")
    if require(folder / "README.md").read_text() != page(folder):
        raise CCAError(f"{folder}/README.md: its numbers are not those of its CSVs; publish the tier again")
    for name, kept in listed.items():
        if sha256(folder / name) != kept:
            raise CCAError(f"{folder}/{name}: changed after it was published; publish the tier again")
