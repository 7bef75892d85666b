"""Everything that is measured of every world, in long format: a row a world, method and setting."""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from cca import objectives
from cca.errors import CCAError
from cca.theory import minimisers
from cca.theory.distances import effective_scale, kl, total_variation
from cca.theory.paths import descend
from cca.theory.sequences import guided
from cca.theory.settings import Paths, TheorySettings, described
from cca.theory.world import Worlds, draw

NCE = {"name": "cca", "beta": 1, "lam": 1}
"""Theorem 3.1's loss -logσ(r) - logσ(-r') is CCA's at β = λ = 1, with r in the place of g."""
NCE_STEPS = 40
SETTING = ["informativeness", "kind", "method", "beta", "lam", "s", "step"]
"""What a row is about. ``kind`` is ``nce``, ``decoding``, ``minimiser`` or a path's geometry."""

Row = tuple[dict, dict[str, Tensor]]


def measure(settings: TheorySettings) -> pd.DataFrame:
    """The columns of `SETTING`, ``world``, and the measured ones (see docs/theory.md).

    Raises:
        CCAError: a minimiser is not found.
    """
    degrees, seeds = settings.informativeness, range(settings.worlds)
    worlds = draw(seeds, settings.tokens, settings.length, settings.labels, degrees)
    places = pd.MultiIndex.from_product([degrees, seeds], names=["informativeness", "world"])
    rows = [
        *_theorem(worlds),
        *_decoding(worlds, settings.scales),
        *_minimisers(worlds, settings.betas, settings.lams),
        *_paths(worlds, settings.paths),
    ]
    frames = []
    for setting, values in rows:
        columns = {name: value.numpy() for name, value in values.items()}
        frames.append(pd.DataFrame(columns, index=places).reset_index().assign(**setting))
    frame = pd.concat(frames, ignore_index=True).reindex(columns=_columns(frames))
    frame["information"] = worlds.information.tile(len(rows)).numpy()
    return frame


def compare(worlds: Worlds, p: Tensor) -> dict[str, Tensor]:
    """A distribution (W, K, N) against the nearest target, and CFG of the same effective scale with it.

    NaN in worlds without a nearest target, but for ``g_pos`` and ``g_neg``.
    """
    scale = effective_scale(worlds, p)
    nearest, g = worlds.target(scale), p - worlds.conditional
    cfg = guided(worlds.conditional, worlds.marginal, scale, worlds.tokens)
    distance, rival = kl(worlds, p, nearest), kl(worlds, cfg, nearest)
    return {
        "effective_s": scale,
        "kl": distance,
        "kl_reverse": kl(worlds, nearest, p),
        "tv": total_variation(worlds, p, nearest),
        "cfg_kl": rival,
        "log_kl_ratio": (distance / rival).log(),
        "g_pos": worlds.mean(worlds.conditional, g),
        "g_neg": worlds.mean(worlds.marginal, g),
    }


def to_nominal(worlds: Worlds, p: Tensor, scale: float) -> dict[str, Tensor]:
    """A distribution (W, K, N) against the target that it is said to be."""
    target = worlds.target(scale)
    return {
        "nominal_kl": kl(worlds, p, target),
        "nominal_kl_reverse": kl(worlds, target, p),
        "nominal_tv": total_variation(worlds, p, target),
    }


def _theorem(worlds: Worlds) -> Iterator[Row]:
    for step, r in enumerate(minimisers.free_ratio(objectives.bind(NCE), worlds, NCE_STEPS), 1):
        error = (r - worlds.ratio).abs().amax(dim=(1, 2))
        yield {"kind": "nce", "method": "nce", "step": step}, {"error": error}


def _decoding(worlds: Worlds, scales: list[float]) -> Iterator[Row]:
    for scale in scales:
        for method, p in (
            ("target", worlds.target(scale)),
            ("cfg", guided(worlds.conditional, worlds.marginal, scale, worlds.tokens)),
        ):
            values = compare(worlds, p) | to_nominal(worlds, p, scale)
            values = {name: value for name, value in values.items() if name not in ("cfg_kl", "log_kl_ratio")}
            yield {"kind": "decoding", "method": method, "s": scale}, values


def _minimisers(worlds: Worlds, betas: list[float], lams: list[float]) -> Iterator[Row]:
    for beta in betas:
        limit = minimisers.exact_lam(worlds, beta).amin(dim=1)
        for lam in lams:
            loss = objectives.bind({"name": "cca", "beta": beta, "lam": lam})
            p, slope = minimisers.normalised(loss, worlds)
            if not slope.max() <= minimisers.TOLERANCE:
                raise CCAError(
                    f"no minimiser of CCA found at beta {beta:g}, lam {lam:g} (slope {slope.max():.1g} after "
                    f"{minimisers.MOST_STEPS} steps); leave one of them out of theory.betas or theory.lams"
                )
            values = compare(worlds, p) | to_nominal(worlds, p, 1 / beta)
            values |= {"error": slope, "exact_lam": limit, "exists": torch.ones_like(limit)}
            values["exact"] = (limit >= lam).double()
            yield {"kind": "minimiser", "method": "cca", "beta": beta, "lam": lam, "s": 1 / beta}, values
    for lam in lams:
        p = minimisers.unlearned(worlds, lam)
        exists = p.isnan().logical_not().all(dim=-1).all(dim=-1)
        values = {name: torch.where(exists, value, torch.nan) for name, value in compare(worlds, p).items()}
        values |= {"exists": exists.double(), "exact": exists.double()}
        yield {"kind": "minimiser", "method": "unlearn", "lam": lam}, values


def _paths(worlds: Worlds, settings: Paths) -> Iterator[Row]:
    for spec in settings.objectives:
        loss = objectives.bind(spec)
        names = described(spec)
        for geometry, rate in settings.rates.items():
            path = descend(loss, worlds, geometry, rate, settings.steps)
            for step, p in zip(settings.steps, path, strict=True):
                yield names | {"kind": geometry, "step": step}, compare(worlds, p)


def _columns(frames: list[pd.DataFrame]) -> list[str]:
    measured = dict.fromkeys(name for frame in frames for name in frame)
    return [*SETTING, "world", "information", *(name for name in measured if name not in (*SETTING, "world"))]
