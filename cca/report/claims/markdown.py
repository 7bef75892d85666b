"""The verdicts as a page to read: all at a glance, then claim by claim, then who played which role."""

import pandas as pd

from cca.report.claims.roles import TierClaims

LEGEND = """
Every claim is judged on {benchmark} alone; the paper's numbers are of other data and stand beside for
orientation. Values are means over seeds ± half of a 95 % t-interval; effects have that interval in
brackets, computed from differences within a seed (for cost: median and range of repetitions). Points of a
sweep are separated by slashes. *Reproduced*: the whole interval obeys the rule. *Not reproduced*: none of it
does. *Inconclusive*: anything else, and what the tier does not measure. One seed has no interval; the number
decides. A claim with several rules is reproduced if all hold. Seeds are of finetuning and sampling, not
of pretraining.
"""


def page(frame: pd.DataFrame, content: TierClaims, titles: dict[str, str]) -> str:
    """The page of ``frame``, the rows of ``claims.csv``; their cells are in it as they stand."""
    shown = frame.astype(object).fillna("-").astype(str)
    verdicts = shown.pivot(index="claim", columns="model", values="verdict")
    verdicts = verdicts.loc[shown["claim"].unique(), shown["model"].unique()].reset_index()
    parts = ["# The paper's claims", _table(verdicts), LEGEND.format(benchmark=frame["benchmark"][0]).strip()]
    for claim, rows in shown.groupby("claim", sort=False):
        first = rows.iloc[0]
        parts += [
            f"## {claim}",
            f"{first['statement']} ({first['where']})",
            f"Rule: {first['rule']}",
            _table(rows[["model", "measured", "reported", "verdict", "seeds"]]),
        ]
    return "\n\n".join([*parts, "## Who played which role", _table(_roles(content, titles))]) + "\n"


def _roles(content: TierClaims, titles: dict[str, str]) -> pd.DataFrame:
    rows = []
    for entry in content.models:
        for role, by_seed in content.arms(entry).items():
            arm = next(iter(by_seed.values()))
            names = [f"{e.model} {e.finetune} s={e.scale:g}" for e in arm]
            seeds = ", ".join(map(str, by_seed))
            rows.append([titles[entry.model], role, " / ".join(names), seeds])
    return pd.DataFrame(rows, columns=["model", "role", "experiments", "seeds"])


def _table(frame: pd.DataFrame) -> str:
    return frame.to_markdown(index=False, disable_numparse=True)
