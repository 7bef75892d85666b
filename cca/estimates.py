"""Numbers with intervals, over seeds, repetitions or worlds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
"""Probability that an interval covers what it is of."""


@dataclass(frozen=True)
class Estimate:
    """A number and the interval that it is judged by; of one run it is infinite."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """For example ``-1.85 [-2.02, -1.68]``, without an interval where there is none."""
        interval = f" [{self.low:.4g}, {self.high:.4g}]" if np.isfinite(self.high - self.low) else ""
        return _number(self.value) + interval

    @property
    def spread(self) -> str:
        """For example ``2.35 ± 0.17``."""
        half = self.high - self.value
        return _number(self.value) + (f" ± {half:.2g}" if np.isfinite(half) else "")

    @property
    def point(self) -> "Estimate":
        """The number alone, as if it were certain."""
        return Estimate(self.value, self.value, self.value)


def _number(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "-"


def t_quantile(runs: int) -> float:
    """Half a `CONFIDENCE` interval of the mean of ``runs`` normal values, in standard errors; NaN for one."""
    return float(stdtrit(runs - 1, (1 + CONFIDENCE) / 2))


def over_seeds(values: NDArray[np.float64]) -> Estimate:
    """Mean of ``values`` (R,) and its 95 % t-interval; one value could be anything."""
    mean, runs = float(values.mean()), len(values)
    if runs == 1:
        return Estimate(mean, -np.inf, np.inf)
    half = t_quantile(runs) * float(values.std(ddof=1)) / np.sqrt(runs)
    return Estimate(mean, mean - half, mean + half)


def over_repetitions(values: NDArray[np.float64]) -> Estimate:
    """Of median, least and greatest (3,): the median, and the range."""
    return Estimate(float(values[0]), float(values.min()), float(values.max()))
