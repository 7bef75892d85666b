"""Figure 4: the trade-off of FID and IS, CCA over λ (guidance-free) beside CFG over s."""

import matplotlib.figure
import pandas as pd
from pydantic import Field

from cca.experiments import BASE
from cca.report.figures import _curves
from cca.report.figures._curves import Measurement


class Panel(_curves.Panel):
    """One model: the finetunes of the CCA curve, in the order of λ, and the scales of the CFG curve."""

    cca: list[str] = Field(min_length=2)
    cfg: list[float] = Field(min_length=2)

    def measurements(self) -> list[Measurement]:
        """The base model at every scale, and guidance-free samples of every λ."""
        cfg = [Measurement("cfg", self.model, BASE, scale) for scale in self.cfg]
        return cfg + [Measurement("cca", self.model, finetune, 0) for finetune in self.cca]


class Figure(_curves.CurveFigure[Panel]):
    """A panel a model."""

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """Two curves and, as one point of the CFG curve, the model as it is."""
        return _curves.draw_trade_off(
            points,
            names={"cfg": "s", "cca": "lam"},
            starts={"cfg": "base"},
            note="numbers: s of CFG; λ of CCA, guidance-free",
        )
