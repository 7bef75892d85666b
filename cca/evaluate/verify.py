"""Checking an installation of the evaluator against files whose figures their authors published."""

import sys
from pathlib import Path

from pydantic import Field

from cca.errors import CCAError
from cca.evaluate.evaluator import evaluate
from cca.evaluate.protocol import METRICS, EvaluationSettings, Metric
from cca.files import cache_folder, read_yaml
from cca.files.archives import Archive
from cca.settings import Settings, validate


class PublishedFile(Settings):
    """Where a file is published and which arrays it holds."""

    url: str
    arrays: dict[str, tuple[int, ...]] = Field(description="shapes by name")


class PublishedFigure(Settings):
    """A number, and how far from it a measurement may be."""

    value: float
    tolerance: float = Field(ge=0)


class Published(Settings):
    """A sample file, its reference, and the figures published for them."""

    source: str
    protocol: EvaluationSettings
    reference: PublishedFile
    samples: PublishedFile
    figures: dict[Metric, PublishedFigure] = Field(min_length=1)


def run(
    reference: Path,
    samples: Path,
    published: Path,
    *,
    weights: Path | None = None,
    cache: Path | None = None,
) -> dict:
    """Stage ``verify-evaluator``: evaluate published files; print each metric beside its published figure.

    Args:
        reference: the reference file.
        samples: the sample file, under the name that it is published by.
        published: YAML file, by the names of sample files; see `Published`.
        weights: file of the extractor's weights.
        cache: folder for the reference's features; None for the user's own.

    Returns:
        The result of `cca.evaluate.evaluator.evaluate`.

    Raises:
        CCAError: files that are missing or not the published ones; or metrics that are off, after printing.
    """
    entry = lookup(published, samples.name)
    for path, file in ((reference, entry.reference), (samples, entry.samples)):
        check_is_published(path, file)
    result = evaluate(
        reference, samples, entry.protocol, weights=weights, cache=cache or cache_folder("features")
    )
    for warning in result["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{'metric':<16} {'measured':>10} {'published':>10} {'tolerance':>10}  verdict")
    off = []
    for name in (name for name in METRICS if name in entry.figures):
        figure, value = entry.figures[name], result[name]
        if value is None or abs(value - figure.value) > figure.tolerance:
            off.append(name)
        shown = "-" if value is None else f"{value:.4f}"
        verdict = "OFF" if name in off else "ok"
        print(f"{name:<16} {shown:>10} {figure.value:>10.4f} {figure.tolerance:>10g}  {verdict}")
    print(f"published: {entry.source}")
    if off:
        used = f"{result['extractor']}, weights {result['extractor_sha256'] or 'of its own'}"
        raise CCAError(f"{', '.join(off)} off: not what is published; check the extractor ({used})")
    return result


def lookup(published: Path, name: str) -> Published:
    """The entry of a sample file in the YAML file of published figures."""
    entries = read_yaml(published)
    if not isinstance(entries, dict) or name not in entries:
        known = ", ".join(entries) if isinstance(entries, dict) else "none"
        raise CCAError(f"'{name}' has no published figures in {published}, which knows: {known}")
    return validate(Published, entries[name], f"{published}: {name}")


def check_is_published(path: Path, file: PublishedFile) -> None:
    """Raise a `CCAError` where a file is missing or its arrays show that it is another one."""
    if not path.is_file():
        raise CCAError(f"{path}: no such file; it is published at {file.url}")
    archive = Archive(path)
    for name, expected in file.arrays.items():
        shape, _ = archive.header(name)
        if shape != expected:
            raise CCAError(
                f"{path}: '{name}' has shape {shape}, not {expected}: another file than {file.url}"
            )
