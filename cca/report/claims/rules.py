"""The rules of claims: each computes effects, and says which effects bear the claim out.

A rule never sees where numbers come from. Its values are arrays (R, P): R runs (seeds), the same for
all quantities of the rule, and P points of a sweep (1 for a single number). Its effects are (R, E),
paired by run: one for each point that is compared, or a single one. A rule holds if every effect lies
within `Bounds`; each is judged by its own interval, because the interval of the worst of several noisy
effects would say more about the noise than about any of them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cca.evaluate.protocol import METRICS
from cca.report.claims.quantities import Quantity, Single, Sweep, parse
from cca.report.claims.roles import AXES
from cca.settings import Settings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """Where an effect must lie; the ends belong to it unless ``strict``."""

    low: float = -np.inf
    high: float = np.inf
    strict: bool = False


class Rule(Settings, ABC):
    """One comparison."""

    @property
    @abstractmethod
    def quantities(self) -> list[str | float]:
        """What is compared, in the order in which `effect` wants the values; numbers stand for themselves."""

    @property
    @abstractmethod
    def bounds(self) -> Bounds:
        """Which effects bear the claim out."""

    @abstractmethod
    def effect(self, values: list[Array]) -> Array:
        """The effects of each run: arrays (R, P) to (R, E); NaN where one is not defined."""

    @abstractmethod
    def words(self) -> tuple[str, str]:
        """The rule in words, and what its effects are."""


class _Pointwise(Rule):
    """A rule that compares two quantities point by point; a single number with every point."""

    @model_validator(mode="after")
    def _points_match(self) -> "_Pointwise":
        if len(self._axes) > 1:
            raise ValueError(f"{self.quantities} go along different axes; say .min or .max")
        return self

    @property
    def _axes(self) -> set[str]:
        axes = (parse(quantity).axis for quantity in self.quantities if isinstance(quantity, str))
        return {axis for axis in axes if axis}

    @property
    def _everywhere(self) -> str:
        return "".join(f" at every {axis}" for axis in self._axes)


class _Comparison(_Pointwise):
    this: Quantity
    than: Quantity | float

    @property
    def quantities(self) -> list[str | float]:
        return [self.this, self.than]

    def effect(self, values: list[Array]) -> Array:
        """``this - than`` at each point."""
        return values[0] - values[1]

    def _phrase(self, sign: str) -> tuple[str, str]:
        than = self.than if isinstance(self.than, str) else f"{self.than:g}"
        return f"{self.this} {sign} {than}{self._everywhere}", "difference"


class Less(_Comparison):
    """``this`` is less than ``than``, at every point; effects: the differences."""

    @property
    def bounds(self) -> Bounds:
        """Below 0."""
        return Bounds(high=0, strict=True)

    def words(self) -> tuple[str, str]:
        """For example ``cfg.fid < base.fid``."""
        return self._phrase("<")


class Greater(_Comparison):
    """``this`` is greater than ``than``, at every point; effects: the differences."""

    @property
    def bounds(self) -> Bounds:
        """Above 0."""
        return Bounds(low=0, strict=True)

    def words(self) -> tuple[str, str]:
        """For example ``cca.inception_score > base.inception_score``."""
        return self._phrase(">")


class Rises(Rule):
    """A sweep rises; effect: Kendall's tau, the share of its pairs in order less that out of order.

    Tau takes few values, so that seeds often agree exactly and the interval has no width. Noise brings
    tau nearer to 0 on average, and so speaks rather against a claim than for it.
    """

    sweep: Sweep
    at_least: float = Field(gt=0, le=1)

    @property
    def quantities(self) -> list[str | float]:
        """The sweep."""
        return [self.sweep]

    @property
    def bounds(self) -> Bounds:
        """From ``at_least``."""
        return Bounds(low=self.at_least)

    def effect(self, values: list[Array]) -> Array:
        """Kendall's tau of the values with their order; undefined for a single point."""
        first, second = np.triu_indices(values[0].shape[1], 1)
        steps = np.sign(values[0][:, second] - values[0][:, first])
        return steps.mean(axis=1, keepdims=True) if len(first) else np.full((len(steps), 1), np.nan)

    def words(self) -> tuple[str, str]:
        """Names the axis."""
        return self._phrase(f"rises with {{axis}}: rank correlation at least {self.at_least:g}")

    def _phrase(self, text: str) -> tuple[str, str]:
        return f"{self.sweep} {text.format(axis=parse(self.sweep).axis)}", "rank correlation"


class Falls(Rises):
    """A sweep falls; effect: Kendall's tau, which must be at most minus ``at_least``."""

    @property
    def bounds(self) -> Bounds:
        """Up to ``-at_least``."""
        return Bounds(high=-self.at_least)

    def words(self) -> tuple[str, str]:
        """Names the axis."""
        return self._phrase(f"falls with {{axis}}: rank correlation at most {-self.at_least:g}")


class FractionOfGap(Rule):
    """``reached`` has closed a share of the way from ``start`` to ``goal``.

    The share means nothing if ``goal`` is no better than ``start``: let the claim say that as well.
    """

    start: Single
    goal: Single
    reached: Single
    at_least: float

    @property
    def quantities(self) -> list[str | float]:
        """Start, goal, reached."""
        return [self.start, self.goal, self.reached]

    @property
    def bounds(self) -> Bounds:
        """From ``at_least``."""
        return Bounds(low=self.at_least)

    def effect(self, values: list[Array]) -> Array:
        """``(reached - start) / (goal - start)``; undefined without a gap."""
        start, goal, reached = values
        return _divide(reached - start, goal - start)

    def words(self) -> tuple[str, str]:
        """Names the share."""
        rule = f"{self.reached} is at least {self.at_least:g} of the way from {self.start} to {self.goal}"
        return rule, "share of the gap"


class Ratio(_Pointwise):
    """``this / to`` lies between ``at_least`` and ``at_most``, at every point."""

    this: Quantity
    to: Quantity | float = 1.0
    at_least: float = 0.0
    at_most: float = Field(gt=0)

    @property
    def quantities(self) -> list[str | float]:
        """This, to."""
        return [self.this, self.to]

    @property
    def bounds(self) -> Bounds:
        """From ``at_least`` to ``at_most``."""
        return Bounds(self.at_least, self.at_most)

    def effect(self, values: list[Array]) -> Array:
        """The ratio at each point; undefined over 0."""
        return _divide(*np.broadcast_arrays(*values))

    def words(self) -> tuple[str, str]:
        """Names the range."""
        what = self.this if self.to == 1 else f"{self.this} / {self.to}"
        return f"{what} is {_span(self.at_least, self.at_most)}{self._everywhere}", "ratio"


class SameCurve(Rule):
    """Two sweeps draw the same curve of ``y`` over ``x``; effect: the ratio of y at equal x.

    The reference is interpolated from its first point up to its largest x. Points of the curve
    beyond that range do not count; the effect is the geometric mean over those that do.
    """

    curve: str
    reference: str
    x: str
    y: str
    at_least: float = Field(gt=0)
    at_most: float = Field(gt=0)

    @model_validator(mode="after")
    def _are_curves(self) -> "SameCurve":
        for role in (self.curve, self.reference):
            if role not in AXES:
                raise ValueError(f"'{role}' is no sweep; sweeps are {', '.join(AXES)}")
        for column in (self.x, self.y):
            if column not in METRICS:
                raise ValueError(f"'{column}' is no metric; metrics are {', '.join(METRICS)}")
        return self

    @property
    def quantities(self) -> list[str | float]:
        """X and y of the curve, then of the reference."""
        return [f"{role}.{column}" for role in (self.curve, self.reference) for column in (self.x, self.y)]

    @property
    def bounds(self) -> Bounds:
        """From ``at_least`` to ``at_most``."""
        return Bounds(self.at_least, self.at_most)

    def effect(self, values: list[Array]) -> Array:
        """Geometric mean of the ratio; undefined if no point of the curve is within the range of x."""
        return np.array([[_mean_ratio(*run)] for run in zip(*values, strict=True)])

    def words(self) -> tuple[str, str]:
        """Names both curves."""
        span = _span(self.at_least, self.at_most)
        rule = f"{self.y} of {self.curve} over {self.y} of {self.reference} at equal {self.x} is {span}"
        return rule, "mean ratio"


def _mean_ratio(x: Array, y: Array, reference_x: Array, reference_y: Array) -> float:
    """Of one run, all (P,)."""
    rising = slice(0, int(reference_x.argmax()) + 1)
    order = np.argsort(reference_x[rising])
    known_x, known_y = reference_x[rising][order], reference_y[rising][order]
    inside = (known_x[0] <= x) & (x <= known_x[-1])
    if not inside.any():
        return np.nan
    ratio = y[inside] / np.interp(x[inside], known_x, known_y)
    return float(np.exp(np.log(ratio).mean()))


def _divide(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)


def _span(low: float, high: float) -> str:
    return f"between {low:g} and {high:g}" if low > 0 else f"at most {high:g}"
