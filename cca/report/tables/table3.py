"""Table 3: the objectives against each other, all guidance-free."""

from pathlib import Path

from pydantic import Field

from cca.experiments import BASE, Experiment
from cca.report import tables
from cca.report.measured import Measured
from cca.settings import Seeds, Settings


class Row(Settings):
    """A model as it is, or finetuned."""

    model: str
    finetune: str = BASE
    seeds: Seeds | None = Field(default=None, min_length=1, description="in place of the table's")


class Table(tables.Table):
    """The measured rows, over seeds of finetuning and sampling."""

    seeds: Seeds = Field(min_length=1)
    measured: list[Row]

    def experiments(self) -> list[Experiment]:
        """Guidance-free samples of every row and seed."""
        return [
            Experiment(row.model, row.finetune, seed, 0)
            for row in self.measured
            for seed in row.seeds or self.seeds
        ]

    def rows(self, measured: Measured) -> list[dict]:
        """One row a model and objective: mean and standard deviation over seeds."""
        return [
            {
                "model": measured.title(row.model, row.finetune),
                **measured.summary(row.model, row.finetune, row.seeds or self.seeds, 0),
                "seeds": len(row.seeds or self.seeds),
                "origin": f"{measured.folder}/{row.model}/{row.finetune}",
            }
            for row in self.measured
        ]

    def sources(self, measured: Measured, column: str) -> dict[str, list[Path]]:
        """The metrics of a row's seeds."""
        return {
            measured.title(row.model, row.finetune): [
                Experiment(row.model, row.finetune, seed, 0).metrics for seed in row.seeds or self.seeds
            ]
            for row in self.measured
        }
