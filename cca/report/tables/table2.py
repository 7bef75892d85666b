"""Table 2: class-conditional generation without and with guidance."""

from pydantic import Field

from cca.experiments import BASE, Experiment
from cca.report import tables
from cca.report.measured import Measured
from cca.settings import Settings


class Row(Settings):
    """A model as it is, or finetuned; ``cfg_scale`` fills the columns "with guidance"."""

    model: str
    finetune: str = BASE
    cfg_scale: float | None = Field(default=None, gt=0)


class Table(tables.Table):
    """The measured rows, each from the same seeds."""

    seeds: list[int] = Field(min_length=1)
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

    def rows(self, measured: Measured) -> list[dict]:
        """One row a model; FID and IS again with guidance."""
        rows = []
        for row in self.measured:
            plain = measured.summary(row.model, row.finetune, self.seeds, 0)
            values = {key: plain[key] for key in ("fid", "inception_score", "precision", "recall")}
            if row.cfg_scale is not None:
                guided = measured.summary(row.model, row.finetune, self.seeds, row.cfg_scale)
                values |= {
                    "cfg_scale": row.cfg_scale,
                    "cfg_fid": guided["fid"],
                    "cfg_inception_score": guided["inception_score"],
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
        return rows
