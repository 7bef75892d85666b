"""The values of quantities: measured by seed, and reported by the paper."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cca.errors import CCAError
from cca.evaluate.protocol import METRICS
from cca.experiments import Experiment, cost
from cca.files import read_json, require
from cca.report.claims.quantities import LOGGED, parse
from cca.report.claims.roles import Arms, ModelClaims
from cca.report.measured import Measured

Array = NDArray[np.float64]

# The rows of reported tables: the model's name, and what is added to it for a role.
SUFFIXES = {"base": "", "cfg": "", "cca": " +CCA", "dpo": " +DPO", "unlearn": " +Unlearn"}


class NotMeasured(Exception):  # noqa: N818  (an answer, no error)
    """The tier has nobody in the role that is named."""


@dataclass(frozen=True)
class Evidence:
    """What was measured of one model's roles."""

    measured: Measured
    entry: ModelClaims
    arms: Arms
    imported: frozenset[str] = frozenset()  # finetunes without a log

    def values(self, quantities: list[str | float]) -> tuple[list[Array], int | None]:
        """Arrays (R, P) of the quantities, a row a run, and the number of seeds that these runs are.

        A sweep has all its points, also where its best one is wanted.

        Runs are the seeds that all quantities have, so that rows are paired. Plain numbers are the
        same in every run. Of cost, rows are median, least, greatest of its repetitions, and there
        are no seeds.

        Raises:
            NotMeasured: the tier has nobody in a role, or the roles have no seed in common.
            CCAError: a file that is missing or lacks a value.
        """
        roles = {parse(quantity).role for quantity in quantities if isinstance(quantity, str)}
        played = {*self.arms, *(["cost"] if self.entry.cost else [])}
        if missing := sorted(roles - played):
            raise NotMeasured(", ".join(missing))
        if "cost" in roles:
            seeds, runs = None, 3
        else:
            seeds = sorted(set.intersection(*(set(self.arms[role]) for role in roles)))
            runs = len(seeds)
            if not seeds:
                raise NotMeasured(f"{', '.join(sorted(roles))} with the same seed")
        arrays = [
            np.full((runs, 1), float(quantity))
            if not isinstance(quantity, str)
            else self._cost(quantity)
            if seeds is None
            else self._seeds(quantity, seeds)
            for quantity in quantities
        ]
        return arrays, None if seeds is None else len(seeds)

    def _seeds(self, quantity: str, seeds: list[int]) -> Array:
        name = parse(quantity)
        read = self._logged if name.column in LOGGED else self._metric
        return np.array([[read(e, name.column) for e in self.arms[name.role][seed]] for seed in seeds])

    def _metric(self, experiment: Experiment, name: str) -> float:
        return self.measured.metrics(experiment)[name]

    def _logged(self, experiment: Experiment, column: str) -> float:
        """Mean over the last quarter of the steps, those without a true negative left out."""
        if experiment.finetune in self.imported:
            raise NotMeasured(f"{column} of {experiment.finetune}, which is imported")
        path = require(self.measured.folder / experiment.log)
        log = pd.read_csv(path)
        if column not in log or log[column].dropna().empty:
            raise CCAError(f"{path}: column '{column}' is missing; delete it and finetune again")
        return float(log[column].tail(max(1, len(log) // 4)).mean())

    def _cost(self, quantity: str) -> Array:
        path = self.measured.folder / cost(self.entry.model)
        try:
            values = read_json(path)[parse(quantity).column]
            return np.array([[values[key]] for key in ("median", "min", "max")])
        except (KeyError, TypeError) as error:
            raise CCAError(f"{path}: {error} is missing; delete it and measure again") from None


def from_paper(quantity: str, table: pd.DataFrame, row: str) -> float | None:
    """What a reported table says of a quantity, for the model in ``row``; None if it does not."""
    name = parse(quantity)
    column = f"cfg_{name.column}" if name.role == "cfg" else name.column
    if name.role not in SUFFIXES or name.column not in METRICS or column not in table:
        return None
    found = table.loc[table["model"] == row + SUFFIXES[name.role], column].dropna()
    return None if found.empty else float(found.iloc[0])


def read_reported(folder: Path, name: str) -> pd.DataFrame:
    """The reported numbers of table ``name``."""
    return pd.read_csv(require(folder / f"{name}.csv"))
