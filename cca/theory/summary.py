"""From worlds to means with intervals."""

import numpy as np
import pandas as pd

from cca.estimates import over_seeds
from cca.theory.measurements import SETTING

RATIO = "log_kl_ratio"


def summarise(worlds: pd.DataFrame) -> pd.DataFrame:
    """A row a setting: each column's mean, and ``_low`` and ``_high`` of its 95 % t-interval.

    ``kl_ratio`` is the geometric mean of KL over that of CFG at the same effective scale: below 1, the
    method is nearer to the target than CFG is. ``nearer`` is the share of worlds in which it is. What a world
    does not have (NaN) is left out: ``found`` of the ``worlds`` have a nearest target, and what is said of it
    is of them alone. Of one world there is no interval.
    """
    measured = [name for name in worlds if name not in (*SETTING, "world")]
    rows = []
    for setting, group in worlds.groupby(SETTING, sort=False, dropna=False):
        row = dict(zip(SETTING, setting, strict=True)) | {"worlds": len(group)}
        row["found"] = np.isfinite(group["effective_s"]).sum()
        for name in measured:
            values = group[name].to_numpy()
            values = values[np.isfinite(values)]
            estimate = over_seeds(values) if len(values) else over_seeds(np.array([np.nan]))
            numbers = np.array([estimate.value, estimate.low, estimate.high])
            if name == RATIO:
                name, numbers = "kl_ratio", np.exp(numbers)
                row["nearer"] = (values < 0).mean() if len(values) else np.nan
            bounds = numbers if len(values) > 1 else np.array([numbers[0], np.nan, np.nan])
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), bounds, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)
