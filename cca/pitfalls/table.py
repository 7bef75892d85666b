"""The measurements as a table: each metric, how far it moved, and whether other seeds move it as far."""

from pathlib import Path

import pandas as pd

from cca.evaluate.protocol import METRICS
from cca.files import atomic
from cca.report import html
from cca.report.tables import six_digits
from cca.report.tables._readable import NAMES, cell

NOISE = 2
"""A metric has moved where it changed by more than so many standard deviations over seeds."""

ARROWS = {1: "↑", -1: "↓", 0: "·"}
LEGEND = """
The first row is right; in each of the others one thing was done wrong. An arrow says which way a metric
moved, a dot that it changed by no more than {noise} standard deviations over seeds of sampling (rows
*noise*). Higher is better for the Inception Score, precision and recall, lower for FID and sFID.
"""


def framed(rows: list[dict]) -> pd.DataFrame:
    """The rows, ``<metric>_change`` from the first, ``<metric>_moved``: 1 up, -1 down, 0 within noise."""
    frame = pd.DataFrame(rows)
    values = frame[list(METRICS)].astype(float)
    changes = values - values.iloc[0]
    noise = values[frame["group"].isin(["right", "noise"])].std()
    moved = (changes > NOISE * noise).astype(int) - (changes < -NOISE * noise).astype(int)
    return frame.assign(**{m: values[m] for m in METRICS}).join(
        [changes.add_suffix("_change"), moved.add_suffix("_moved")]
    )


def write(out: Path, rows: list[dict], benchmark: str) -> None:
    """Write ``out`` as ``.csv``, and to read as ``.md`` and ``.html``."""
    frame = framed(rows)
    first = ["benchmark", "group", "name", "what", "num_samples", "num_reference", *METRICS]
    frame = frame.assign(benchmark=benchmark)[[*first, *frame.columns.difference(first, sort=False)]]
    shown = frame[["group", "name", "what", "num_samples", "num_reference"]].map(cell)
    for metric in METRICS:
        arrows = frame[f"{metric}_moved"].map(ARROWS).where(frame["group"] != "right", "")
        shown[metric] = (frame[metric].map(cell) + " " + arrows).str.strip()
    shown = shown.rename(columns=NAMES | {"num_reference": "references"})
    title = f"Why is my FID different? {benchmark}"
    page = (
        f"# {title}\n{LEGEND.format(noise=NOISE)}\n{shown.to_markdown(index=False, disable_numparse=True)}\n"
    )
    for suffix, text in (
        (".csv", frame.map(six_digits).to_csv(index=False)),
        (".md", page),
        (".html", html.page(title, shown)),
    ):
        with atomic(out.with_suffix(suffix)) as temporary:
            temporary.write_text(text)
