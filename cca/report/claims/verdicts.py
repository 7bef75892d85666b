"""From an interval to a verdict."""

from enum import StrEnum

from cca.estimates import Estimate
from cca.report.claims.rules import Bounds


class Verdict(StrEnum):
    """What was found of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"


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
