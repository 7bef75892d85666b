"""Everything that a tier measured on one page: claims, tables, figures."""

from base64 import b64encode
from html import escape
from pathlib import Path

from cca.files import atomic, require
from cca.report import html
from cca.settings import Settings

LONG = 50
"""Rows above which a table is folded."""


class Part(Settings):
    """A page of a table, ``.html``, or a picture, ``.png``, below the tier's results."""

    title: str
    file: Path


class OverviewSettings(Settings):
    """Settings of stage ``overview``."""

    title: str
    parts: list[Part]

    def files(self, results: Path) -> list[Path]:
        """What it is made of."""
        return [results / part.file for part in self.parts]


def run(settings: OverviewSettings, *, results: Path, out: Path) -> dict:
    """Stage ``overview``: one page without outside references, each part under its title."""
    sections = [f"<h1>{escape(settings.title)}</h1>"]
    for part in settings.parts:
        sections.append(f"<h2>{escape(part.title)}</h2>\n{content(require(results / part.file))}")
    with atomic(out) as temporary:
        temporary.write_text(html.PAGE.format(title=escape(settings.title), content="\n".join(sections)))
    return {"parts": len(settings.parts)}


def content(path: Path) -> str:
    """What is put on the page of a part."""
    if path.suffix == ".png":
        return f'<img src="data:image/png;base64,{b64encode(path.read_bytes()).decode()}" alt="{path.stem}">'
    table = html.content(path.read_text())
    rows = table.count("<tr")
    return html.folded(f"a table of {rows} rows", table) if rows > LONG else table
