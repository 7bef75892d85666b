"""The measurements as a table: each metric, how far it moved, and whether a new seed may move it so."""

from pathlib import Path

import numpy as np
import pandas as pd

from cca import markdown
from cca.estimates import CONFIDENCE, t_quantile
from cca.evaluate.protocol import METRICS
from cca.files import atomic
from cca.report import html
from cca.report.tables import six_digits
from cca.report.tables._readable import NAMES, cell

ARROWS = {1: "↑", -1: "↓", 0: "·"}
LEGEND = """
The first row is right, and so are those of group *noise*, of other seeds; in each of the others one thing
was done wrong. An arrow says which way a metric moved, a dot that it is within noise: the {level:.0f} %
prediction interval of a new seed, around the mean of these {seeds},
{reach}.
Higher is better for the Inception Score, precision and recall, lower for FID and sFID.
"""


def is_right(frame: pd.DataFrame) -> pd.Series:
    """Which rows have nothing wrong: the first, and those of other seeds."""
    return frame["group"].isin(["right", "noise"])


def noise(frame: pd.DataFrame) -> pd.DataFrame:
    """For each metric (rows) the ``mean`` of the right rows, and how far from it a new seed may ``reach``.

    t(n - 1) s sqrt(1 + 1 / n), half the width of the prediction interval of one more normal value after n
    of standard deviation s; NaN for n = 1.
    """
    values = frame.loc[is_right(frame), list(METRICS)].astype(float)
    count = len(values)
    reach = t_quantile(count) * values.std() * np.sqrt(1 + 1 / count)
    return pd.DataFrame({"mean": values.mean(), "reach": reach})


def framed(rows: list[dict]) -> pd.DataFrame:
    """The rows, each metric's change from the right rows' mean, and whether that is beyond noise.

    ``<metric>_moved`` is 1 for up, -1 for down, 0 for within noise; NaN for the right rows, which are what
    noise is made of.
    """
    frame = pd.DataFrame(rows)
    values, known = frame[list(METRICS)].astype(float), noise(frame)
    changes = values - known["mean"]
    moved = np.sign(changes).where(changes.abs() > known["reach"], 0).mask(is_right(frame))
    return frame.assign(**values).join([changes.add_suffix("_change"), moved.add_suffix("_moved")])


def write(out: Path, rows: list[dict], benchmark: str) -> None:
    """Write ``out`` as ``.csv``, and to read as ``.md`` and ``.html``."""
    frame = framed(rows)
    first = ["benchmark", "group", "name", "what", "num_samples", "num_reference", *METRICS]
    frame = frame.assign(benchmark=benchmark)[[*first, *frame.columns.difference(first, sort=False)]]
    shown = frame[["group", "name", "what", "num_samples", "num_reference"]].map(cell)
    for metric in METRICS:
        arrows = frame[f"{metric}_moved"].map(ARROWS).fillna("")
        shown[metric] = (frame[metric].map(cell) + " " + arrows).str.strip()
    shown = shown.rename(columns=NAMES | {"num_reference": "references"})
    reaches = noise(frame)["reach"].items()
    reach = ", ".join(f"{NAMES[metric][:-2]} ± {value:.2g}" for metric, value in reaches)
    legend = LEGEND.format(level=100 * CONFIDENCE, seeds=is_right(frame).sum(), reach=reach)
    title = f"Why is my FID different? {benchmark}"
    page = f"# {title}\n{legend}\n{markdown.table(shown)}\n"
    for suffix, text in (
        (".csv", frame.map(six_digits).to_csv(index=False)),
        (".md", page),
        (".html", html.page(title, shown)),
    ):
        with atomic(out.with_suffix(suffix)) as temporary:
            temporary.write_text(text)
