"""The verdicts as a page to read: all at a glance, then claim by claim, then who played which role."""

import pandas as pd

from cca.markdown import table
from cca.report.claims.roles import TierClaims

LEGEND = """
Every claim is judged on {benchmark} alone; the paper's numbers are of other data and stand beside for
orientation. Thresholds are this suite's. The verdict is computed:

- *reproduced*: the whole interval of every effect obeys its rule;
- *not reproduced*: of one effect at least, no part of the interval does;
- *inconclusive*: anything else. So is a claim of which a rule is not measured in this tier, or has a single
  seed and thus no interval, unless another rule fails. The note says to which side the numbers point, which
  is not a finding.

Values are means over seeds, ± half of a 95 % t-interval. An effect is a difference, a ratio, a share or a
rank correlation; it is computed within each seed, and its own t-interval is in brackets. `g_pos` is how log p
of the training images has changed, in nats an image, on average over the last quarter of finetuning. Of cost,
the value is the median of repetitions in one job, and in brackets is their range. Points of a sweep are
separated by slashes, and each has an effect, judged by its own interval. `.min` is a sweep at its best point,
chosen for each seed on the mean of the other seeds, so that no number has a say in its own choice; with one
seed it has, and looks better than it is.

Seeds are of finetuning and of sampling; networks are pretrained once, so that no interval covers another
pretraining. With few seeds intervals are wide, and they suppose that effects scatter normally; rank
correlations take few values, so that equal ones have an interval of no width. Nothing is corrected for the
number of points, rules and claims: the more of them, the likelier that one fails by chance.
"""


def page(frame: pd.DataFrame, content: TierClaims, titles: dict[str, str]) -> str:
    """The page of ``frame``, the rows of ``claims.csv``; their cells are in it as they stand."""
    shown = _as_text(frame)
    parts = ["# The paper's claims", glance(frame), LEGEND.format(benchmark=frame["benchmark"][0]).strip()]
    for claim, rows in shown.groupby("claim", sort=False):
        first = rows.iloc[0]
        parts += [
            f"## {claim}",
            f"{first['statement']} ({first['where']})",
            f"Rule: {first['rule']}",
            table(rows[["model", "measured", "reported", "verdict", "note", "seeds"]]),
        ]
    return "\n\n".join([*parts, "## Who played which role", table(_roles(content, titles))]) + "\n"


def glance(frame: pd.DataFrame) -> str:
    """All verdicts in one table, of the rows of ``claims.csv``."""
    return table(verdicts(frame, "claim"))


def verdicts(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """All verdicts with their notes, a row a claim, called by the column ``name``, and a column a model."""
    shown = _as_text(frame)
    noted = shown["verdict"] + shown["note"].map(lambda note: "" if note == "-" else f" ({note})")
    cells = shown.assign(verdict=noted).pivot(index="claim", columns="model", values="verdict")
    names = shown.drop_duplicates("claim").set_index("claim", drop=False)[name]
    cells = cells.loc[names.index, shown["model"].unique()].rename_axis(columns=None)
    cells.insert(0, name, names)
    return cells.reset_index(drop=True)


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(object).fillna("-").astype(str)


def _roles(content: TierClaims, titles: dict[str, str]) -> pd.DataFrame:
    rows = []
    for entry in content.models:
        for role, by_seed in content.arms(entry).items():
            arm = next(iter(by_seed.values()))
            names = [f"{e.model} {e.finetune} s={e.scale:g}" for e in arm]
            seeds = ", ".join(map(str, by_seed))
            rows.append([titles[entry.model], role, " / ".join(names), seeds])
    return pd.DataFrame(rows, columns=["model", "role", "experiments", "seeds"])
