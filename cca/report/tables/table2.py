"""Table 2: class-conditional generation without and with guidance."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from cca import experiments
from cca.experiments import BASE, Experiment
from cca.report import tables
from cca.report.measured import Measured
from cca.settings import Seeds, Settings

GUIDED = ("fid", "inception_score", "fid_inception")
PLAIN = (*GUIDED, "precision", "recall")


class Row(Settings):
    """A model as it is, or finetuned; ``cfg_scale`` fills the columns "with guidance"."""

    model: str
    finetune: str = BASE
    cfg_scale: float | None = Field(default=None, gt=0)


class Table(tables.Table):
    """The measured rows, each from the same seeds."""

    shows_external: ClassVar[bool] = True
    shows_inception: ClassVar[bool] = True

    seeds: Seeds = Field(min_length=1)
    measured: list[Row]

    def experiments(self) -> list[Experiment]:
        """Guidance-free samples of every row, and guided ones where the row has a scale."""
        return [
            Experiment(row.model, row.finetune, seed, scale)
            for row in self.measured
            for scale in (0, row.cfg_scale)
            if scale is not None
            for seed in self.seeds
        ]

    def files(self) -> list[Path]:
        """The metrics, and the base models, whose parameters are counted."""
        models = dict.fromkeys(row.model for row in self.measured)
        return [*super().files(), *(Experiment(model, BASE, 0, 0).checkpoint for model in models)]

    def rows(self, measured: Measured) -> list[dict]:
        """One row a model, mean and standard deviation over seeds; FID and IS again with guidance."""
        rows = []
        for row in self.measured:
            plain = measured.summary(row.model, row.finetune, self.seeds, 0)
            values = {key: value for key, value in plain.items() if key.removesuffix("_std") in PLAIN}
            if row.cfg_scale is not None:
                guided = measured.summary(row.model, row.finetune, self.seeds, row.cfg_scale)
                values["cfg_scale"] = row.cfg_scale
                values |= {
                    f"cfg_{key}": value for key, value in guided.items() if key.removesuffix("_std") in GUIDED
                }
            rows.append(
                {
                    "type": "Autoregressive",
                    "model": measured.title(row.model, row.finetune),
                    "parameters": measured.parameters(row.model),
                    **values,
                    "num_samples": plain["num_samples"],
                    "seeds": len(self.seeds),
                    "origin": f"{measured.folder}/{row.model}/{row.finetune}",
                }
            )
        return rows + [self.external_row(measured, name) for name in measured.context.external]

    def sources(self, measured: Measured, column: str) -> dict[str, list[Path]]:
        """The metrics of a row's seeds, without or with guidance; of its parameters the checkpoint."""
        files = {
            system.model: [experiments.external(name)] for name, system in measured.context.external.items()
        }
        for row in self.measured:
            files[measured.title(row.model, row.finetune)] = self._made_of(row, column)
        if column.removesuffix("_std").endswith("fid_inception"):
            return {name: [experiments.by_inception(path) for path in paths] for name, paths in files.items()}
        return files

    def _made_of(self, row: Row, column: str) -> list[Path]:
        if column == "parameters":
            return [Experiment(row.model, BASE, 0, 0).checkpoint]
        scale = row.cfg_scale if column.startswith("cfg_") else 0.0
        if scale is None:
            return []
        return [Experiment(row.model, row.finetune, seed, scale).metrics for seed in self.seeds]

    @staticmethod
    def external_row(measured: Measured, name: str) -> dict:
        """The row of another system; guided samples have FID and IS only, as ours do."""
        system, metrics = measured.context.external[name], measured.external(name)
        prefix, shown = ("cfg_", GUIDED) if system.guidance else ("", PLAIN)
        return {
            "type": system.type,
            "model": system.model,
            "parameters": system.parameters,
            **{f"{prefix}{key}": metrics[key] for key in shown if key in metrics},
            "num_samples": metrics["num_samples"],
            "origin": system.path(measured.folder),
            "beside": system.reported,
        }
