"""The report and its overview: one file each, without a network, with every artefact in it."""

import json
import re
from base64 import b64decode
from html import unescape
from pathlib import Path

import pytest

from cca import plugins
from cca.config import load_tier

from ..pages import elsewhere

TIER = load_tier("smoke", Path(__file__).parents[2] / "workflow/config")
TITLES = {
    f"{kind}/{name}.{suffix}": plugins.title(f"cca.report.{kind}", name)
    for kind, suffix in (("tables", "html"), ("figures", "png"))
    for name in getattr(TIER, kind)
}
OTHERS = {
    "claims/claims.html": "The paper's claims",
    "pitfalls/pitfalls.html": "Why is my FID different?",
    "theory/theory.html": "The theory in exact small worlds",
}


def test_every_artefact_is_in_the_overview_under_its_title(finished: Path) -> None:
    page = (finished / "results/smoke/overview.html").read_text()
    sections = re.split(r"<h2>(.*?)</h2>", page)[1:]
    shown = dict(zip(map(unescape, sections[::2]), sections[1::2], strict=True))
    wanted = TITLES | OTHERS
    assert len(wanted) == len(TIER.tables) + len(TIER.figures) + 3 == len(shown)
    for file, title in wanted.items():
        assert ("<img src=" if file.endswith(".png") else "<table") in shown[title], file
    assert not elsewhere(page)


@pytest.fixture(scope="module")
def report(finished: Path) -> str:
    """Snakemake's report."""
    return (finished / "results/report.html").read_text()


def test_the_report_holds_every_artefact_and_what_it_is_called(finished: Path, report: str) -> None:
    start = re.search(r'<script id="results">\s*var results = ', report).end()
    held, _ = json.JSONDecoder().raw_decode(report[start:])
    files = {f"results/smoke/{file}" for file in ("overview.html", *TITLES, *OTHERS)}
    assert set(held) == files
    for file, entry in held.items():
        content = b64decode(entry["data_uri"].partition(";base64,")[2])
        assert content == (finished / file).read_bytes(), file
        assert entry["mime_type"] == "image/png" or not elsewhere(content.decode()), file
    for file, title in TITLES.items():
        assert title in unescape(held[f"results/smoke/{file}"]["caption"]), file


def test_the_report_needs_no_network(report: str) -> None:
    assert len(re.findall("<script", report)) > 5
    assert not elsewhere(report)


def test_what_is_loaded_from_elsewhere_is_seen() -> None:
    for tag in (
        '<script src="https://a/b.js">',
        "<img alt='' src=//a/b.png>",
        '<link href="http://a/b.css">',
    ):
        assert elsewhere(f"<p>{tag}</p>") == [tag]
    assert not elsewhere('<link rel="canonical" href="https://a/"><a href="https://a">b</a><img src="b.png">')
