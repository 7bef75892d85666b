"""Exact small worlds: how far CCA and CFG are from the target of the same effective guidance scale."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import require
from cca.report import figures, style
from cca.report.measured import Measured
from cca.theory.settings import SUMMARY, described

if TYPE_CHECKING:
    from cca.config import Tier

SCALES, DISTANCES = (0.08, 12), (4e-6, 20)
"""What is drawn of effective scales and of KL, in nats; a panel says how many of its points lie outside."""
LINES = {"even": "-", "plain": ":"}
SIDES = {"g_pos": "-", "g_neg": ":"}
LOOK = style.look("cca") | {"lw": 1}


class Figure(figures.Figure):
    """Four panels of the worlds of one informativeness."""

    informativeness: float
    beta: float = Field(description="of CCA's paths")
    lams: list[float] = Field(min_length=1, description="of CCA's paths")
    collapse_beta: float = Field(description="of CCA and DPO where their likelihoods are compared")

    def experiments(self) -> list[Experiment]:
        """None: nothing is trained."""
        return []

    def files(self) -> list[Path]:
        """The summary of the worlds."""
        return [SUMMARY]

    def check(self, tier: "Tier") -> None:
        """Every world, path and minimiser that is drawn must be computed.

        Raises:
            CCAError: one is not.
        """
        theory = tier.theory
        assert theory is not None  # which the tier has checked: the figure is made of it
        if self.informativeness not in theory.informativeness:
            raise CCAError(
                f"fig_theory: informativeness {self.informativeness:g} is not in theory.informativeness"
            )
        if "even" not in theory.paths.rates:
            raise CCAError("fig_theory draws even descent, which has no rate in theory.paths.rates")
        computed = [described(objective) for objective in theory.paths.objectives]
        wanted = [{"method": "cca", "beta": self.beta, "lam": lam} for lam in self.lams]
        wanted += [{"method": method, "beta": self.collapse_beta} for method in ("cca", "dpo")]
        for path in wanted:
            if not any(path.items() <= other.items() for other in computed):
                raise CCAError(f"fig_theory draws a path of {path}, which is not in theory.paths.objectives")

    def points(self, measured: Measured) -> pd.DataFrame:
        """The rows of the summary that have this informativeness.

        Raises:
            CCAError: there are none.
        """
        path = require(measured.folder / SUMMARY)
        rows = pd.read_csv(path)
        rows = rows[(rows["informativeness"] == self.informativeness) & (rows["kind"] != "nce")]
        if rows.empty:
            raise CCAError(
                f"{path}: no world has informativeness {self.informativeness:g}; change theory or fig_theory"
            )
        return rows.dropna(axis="columns", how="all")

    def draw(self, points: pd.DataFrame) -> matplotlib.figure.Figure:
        """Minimisers and paths against CFG; the scale that λ gives; what the objectives do to log p."""
        figure, axes = style.new_figure(columns=2, rows=2, height=2.7)
        worlds = points["worlds"].max()
        figure.suptitle(f"informativeness {self.informativeness:g}, means over {worlds} worlds", fontsize=9)
        self._draw_minimisers(axes[0, 0], points)
        self._draw_paths(axes[0, 1], points)
        self._draw_scales(axes[1, 0], points)
        self._draw_likelihoods(axes[1, 1], points)
        for axis, place in (
            (axes[0, 0], "lower right"),
            (axes[0, 1], "lower right"),
            (axes[1, 1], "upper left"),
        ):
            axis.legend(frameon=False, fontsize=7, loc=place)
        return figure

    def _draw_minimisers(self, axis: Axes, points: pd.DataFrame) -> None:
        for look, curve in _by_beta(points):
            style.curve(axis, curve, "effective_s", "kl", **look)
            _hollow(axis, curve, "effective_s", "kl", look)
        _draw_cfg(axis, points, "minimisers, over λ (hollow: above\nthe least exact λ of some worlds)")
        note = "above the blue line CFG is nearer to the\ntarget in the mean, below it CCA is"
        axis.text(0.03, 0.97, note, transform=axis.transAxes, fontsize=7, va="top")

    def _draw_paths(self, axis: Axes, points: pd.DataFrame) -> None:
        cca = points[(points["method"] == "cca") & (points["beta"] == self.beta)]
        for lam, color in zip(self.lams, _shades(self.lams), strict=True):
            for geometry, line in LINES.items():
                path = cca[(cca["kind"] == geometry) & (cca["lam"] == lam)]
                label = f"λ = {lam:g}" if geometry == "even" else None
                style.curve(
                    axis, path, "effective_s", "kl", **LOOK | {"color": color, "ls": line, "label": label}
                )
        _draw_cfg(axis, points, f"descent from φ, β = {self.beta:g}\n(solid: even, dotted: plain)")

    def _draw_scales(self, axis: Axes, points: pd.DataFrame) -> None:
        for look, curve in _by_beta(points):
            axis.plot(curve["lam"], curve["effective_s"], **look)
            _hollow(axis, curve, "lam", "effective_s", look)
            axis.axhline(curve["s"].iloc[0], color=look["color"], ls="--", lw=0.8)
        title = "minimisers, colours as above\n(dashes: nominal s = 1/β)"
        axis.set(title=title, xlabel="λ", ylabel="effective scale s*", xscale="log", yscale="log")

    def _draw_likelihoods(self, axis: Axes, points: pd.DataFrame) -> None:
        shown = points["beta"].isna() | (points["beta"] == self.collapse_beta)
        even = points[(points["kind"] == "even") & shown]
        for method, rows in even.groupby("method", sort=False):
            look, paths = style.look(method) | {"lw": 1}, list(rows.groupby("lam", dropna=False))
            colors = style.shades(look["color"], len(paths)) if len(paths) > 1 else [look["color"]]
            for color, (lam, path) in zip(colors, paths, strict=True):
                name = f"{look['label']}, λ = {lam:g}" if len(paths) > 1 else look["label"]
                for side, line in SIDES.items():
                    label = name if line == "-" else None
                    axis.plot(
                        path["step"], -path[side], **look | {"color": color, "ls": line, "label": label}
                    )
        title = f"even descent, β = {self.collapse_beta:g}\n(solid: positives, dotted: negatives)"
        axis.set(title=title, xlabel="step", ylabel="fall of log p (nats)", xscale="log", yscale="log")


def _shades(values: list[float]) -> list[tuple[float, ...]]:
    return style.shades(style.look("cca")["color"], len(values))


def _by_beta(points: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """CCA's minimisers of each β over λ, and how they are drawn."""
    curves = points[(points["kind"] == "minimiser") & (points["method"] == "cca")].groupby("beta")
    for color, (beta, curve) in zip(_shades(list(curves.groups)), curves, strict=True):
        yield LOOK | {"color": color, "label": f"CCA, β = {beta:g}"}, curve


def _hollow(axis: Axes, curve: pd.DataFrame, x: str, y: str, look: dict) -> None:
    """White markers where the minimiser is not the only one in every world."""
    local = curve[curve["exact"] < 1]
    axis.plot(local[x], local[y], **look | {"ls": "none", "markerfacecolor": "white", "label": None})


def _draw_cfg(axis: Axes, points: pd.DataFrame, title: str) -> None:
    cfg = points[(points["kind"] == "decoding") & (points["method"] == "cfg")]
    style.curve(axis, cfg, "effective_s", "kl", zorder=3, **style.look("cfg"))
    axis.set(title=title, xlabel="effective scale s*", ylabel="KL to the target of s* (nats)")
    axis.set(xscale="log", yscale="log", xlim=SCALES, ylim=DISTANCES)
    drawn = {tuple(point) for line in axis.get_lines() for point in np.asarray(line.get_xydata())}
    inside = sum(SCALES[0] <= x <= SCALES[1] and DISTANCES[0] <= y <= DISTANCES[1] for x, y in drawn)
    if outside := len(drawn) - inside:
        note = f"points outside: {outside}"
        axis.text(0.03, 0.03, note, transform=axis.transAxes, fontsize=7)
