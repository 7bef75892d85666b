"""The tokenizers: how well they reconstruct, and how evenly they use their codes."""

from pathlib import Path

from pydantic import Field

from cca import experiments
from cca.experiments import BASE, Experiment
from cca.report import tables
from cca.report.measured import Measured

COLUMNS = ("psnr", "rfid", "num_images", "codebook_use", "perplexity")


class Table(tables.Table):
    """The tokenizers of these models, a row each.

    rFID is the FID of ``num_images`` reconstructed training images against the reference batch, what a
    model would score that reproduced the codes of its training images; the use of the codes is by the same
    images. PSNR is of the held-out ones.
    """

    models: list[str] = Field(min_length=1)

    def experiments(self) -> list[Experiment]:
        """The base models; their samples are not needed."""
        return [Experiment(model, BASE, 0, 0) for model in self.models]

    def files(self) -> list[Path]:
        """Nothing of the models."""
        return []

    def quality_of(self) -> list[str]:
        """All of them."""
        return self.models

    def rows(self, measured: Measured) -> list[dict]:
        """One row a tokenizer, named as in the tier file."""
        names = dict.fromkeys(measured.context.tokenizers[model] for model in self.models)
        return [
            {
                "tokenizer": name,
                **{key: measured.quality(name)[key] for key in COLUMNS},
                "origin": f"{measured.folder}/tokenizers/{name}",
            }
            for name in names
        ]

    def sources(self, measured: Measured, column: str) -> dict[str, list[Path]]:
        """The measurement of a tokenizer."""
        names = (measured.context.tokenizers[model] for model in self.models)
        return {name: [experiments.quality(name)] for name in names}
