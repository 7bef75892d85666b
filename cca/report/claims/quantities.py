"""Quantities: ``<role>.<column>``, of a sweep with ``.min`` or ``.max`` where its best point is wanted."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from cca.evaluate.protocol import METRICS
from cca.report.claims.roles import AXES, FINETUNED, ROLES

LOGGED = ("g_pos", "g_neg")  # mean change of log-likelihoods at the end of finetuning, nats an image
REDUCTIONS = {"min": np.argmin, "max": np.argmax}


@dataclass(frozen=True)
class Name:
    """A quantity's name, taken apart. Columns are metrics, or `LOGGED`, or ``time_ratio`` of role cost."""

    role: str
    column: str
    reduction: str | None

    @property
    def axis(self) -> str | None:
        """What the quantity's values go along; none for a single number."""
        return None if self.reduction else AXES.get(self.role)


def columns(role: str) -> tuple[str, ...]:
    """What is known of a role."""
    if role == "cost":
        return ("time_ratio",)
    return (*METRICS, *LOGGED) if role in FINETUNED else METRICS


def parse(quantity: str) -> Name:
    """Take a quantity's name apart.

    Raises:
        ValueError: no such role, column or reduction; the message lists those that there are.
    """
    role, *rest = quantity.split(".")
    if role not in ROLES:
        raise ValueError(f"quantity '{quantity}': role '{role}' is not one of {', '.join(ROLES)}")
    if not rest or rest[0] not in columns(role):
        raise ValueError(f"quantity '{quantity}': {role} has the columns {', '.join(columns(role))}")
    if len(rest) > 2 or (len(rest) == 2 and (rest[1] not in REDUCTIONS or role not in AXES)):
        raise ValueError(f"quantity '{quantity}': only sweeps may end, and in .min or .max")
    return Name(role, rest[0], rest[1] if len(rest) == 2 else None)


def at_best(values: NDArray[np.float64], reduction: str) -> NDArray[np.float64]:
    """The values (R, 1) of a sweep (R, P) at its best point, ``min`` or ``max``.

    For each seed the point is chosen on the other seeds' mean. If a number had a say in its own choice,
    the best of many points would look better than any of them is. A single seed has no others: its best
    point is its own, and flattered.
    """
    judges = values.sum(axis=0) - values if len(values) > 1 else values
    return np.take_along_axis(values, REDUCTIONS[reduction](judges, axis=1)[:, None], axis=1)


def _any(quantity: str) -> str:
    parse(quantity)
    return quantity


def _single(quantity: str) -> str:
    if parse(quantity).axis:
        raise ValueError(f"quantity '{quantity}' is a sweep where one number is wanted; say .min or .max")
    return quantity


def _sweep(quantity: str) -> str:
    if not parse(quantity).axis:
        raise ValueError(f"quantity '{quantity}' is one number where a sweep is wanted")
    return quantity


Quantity = Annotated[str, AfterValidator(_any)]
Single = Annotated[str, AfterValidator(_single)]
Sweep = Annotated[str, AfterValidator(_sweep)]
