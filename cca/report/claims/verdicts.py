"""From the effects of runs to an interval, and from an interval to a verdict."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from cca.report.claims.rules import Bounds

CONFIDENCE = 0.95


class Verdict(StrEnum):
    """What was found of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"


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


def over_seeds(values: NDArray[np.float64]) -> Estimate:
    """Mean of ``values`` (R,) and its 95 % t-interval; one value could be anything."""
    mean, runs = float(values.mean()), len(values)
    if runs == 1:
        return Estimate(mean, -np.inf, np.inf)
    half = float(stdtrit(runs - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1) / np.sqrt(runs))
    return Estimate(mean, mean - half, mean + half)


def over_repetitions(values: NDArray[np.float64]) -> Estimate:
    """Of median, least and greatest (3,): the median, and the range."""
    return Estimate(float(values[0]), float(values.min()), float(values.max()))


def judge(estimate: Estimate, bounds: Bounds) -> Verdict:
    """Reproduced: the whole interval within the bounds; not: all of it outside; else inconclusive.

    An effect that is not defined (NaN) is inconclusive.
    """
    low, high = estimate.low, estimate.high
    if not low <= high:
        return Verdict.INCONCLUSIVE
    if bounds.strict:
        inside = bounds.low < low and high < bounds.high
        outside = high <= bounds.low or low >= bounds.high
    else:
        inside = bounds.low <= low and high <= bounds.high
        outside = high < bounds.low or low > bounds.high
    if inside:
        return Verdict.REPRODUCED
    return Verdict.NOT_REPRODUCED if outside else Verdict.INCONCLUSIVE


def combine(verdicts: list[Verdict]) -> Verdict:
    """Of a rule with several effects, or a claim with several rules: all must hold, one can fail it."""
    for verdict in (Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.REPRODUCED
