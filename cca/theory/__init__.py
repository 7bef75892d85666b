"""The paper's theory, computed exactly in worlds that are small enough to enumerate (docs/theory.md)."""

from pathlib import Path

from cca.files import atomic
from cca.report import html
from cca.theory import page
from cca.theory.measurements import SETTING, measure
from cca.theory.settings import TheorySettings
from cca.theory.summary import summarise


def run(settings: TheorySettings, *, out: Path) -> dict:
    """Stage ``theory``: a row a method and setting, as ``.csv``, ``.md`` and ``.html``.

    Values are means over worlds with 95 % intervals; ``theory.worlds.csv`` beside it has every
    world on its own.
    """
    worlds = measure(settings)
    summary = summarise(worlds)
    for path, text in (
        (out.with_name("theory.worlds.csv"), worlds.to_csv(index=False, float_format="%.6g")),
        (out.with_suffix(".md"), page.page(worlds, summary)),
        (
            out.with_suffix(".html"),
            html.page(
                "theory",
                page.brief(summary[summary["kind"] != "nce"], SETTING, ["nominal_kl", "g_pos", "g_neg"]),
            ),
        ),
        (out, summary.to_csv(index=False, float_format="%.6g")),
    ):
        with atomic(path) as temporary:
            temporary.write_text(text)
    return {"worlds": len(settings.informativeness) * settings.worlds, "rows": len(summary)}
