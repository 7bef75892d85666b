"""Figure 6: the trade-off of FID and IS over s, CFG on a CCA-finetuned model beside CFG alone."""

import matplotlib.figure
import pandas as pd
from pydantic import Field

from cca.experiments import BASE
from cca.report.figures import _curves
from cca.report.figures._curves import Measurement
from cca.report.measured import Measured


class Panel(_curves.Panel):
    """One model: the scales of its CFG curve, one CCA finetune of it, and the scales of that curve."""

    cfg: list[float] = Field(min_length=2)
    finetune: str
    cca_cfg: list[float] = Field(min_length=2)

    def title(self, measured: Measured) -> str:
        """The model, and the λ of its finetune."""
        lam = measured.objective(self.finetune).get("lam")
        return super().title(measured) + ("" if lam is None else f" (CCA: λ = {lam:g})")

    def measurements(self) -> list[Measurement]:
        """Both curves in the order of their scales."""
        cfg = [Measurement("cfg", self.model, BASE, scale) for scale in self.cfg]
        return cfg + [Measurement("cca+cfg", self.model, self.finetune, scale) for scale in self.cca_cfg]


class Figure(_curves.CurveFigure[Panel]):
    """A panel a model."""

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """Two curves, whose guidance-free ends are the model as it is and after CCA."""
        return _curves.draw_trade_off(
            points,
            names={"cfg": "s", "cca+cfg": "s"},
            starts={"cfg": "base", "cca+cfg": "cca"},
            note="numbers: guidance scale s",
        )
