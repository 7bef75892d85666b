"""The results as a page to read: sentences and tables, all computed from the summary."""

import pandas as pd

from cca import markdown

LEGEND = """
Values are means over random worlds, in brackets 95 % t-intervals; docs/theory.md explains them. `s*` is the
effective guidance scale, the s of the nearest target; KL is to that target, in nats. `ratio` is this KL over
that of per-token CFG at s = `s*`, a geometric mean: below 1 the method is nearer to the target than CFG,
above 1 CFG is. One is called nearer where the whole interval says so. Where not all worlds have a nearest
target, `found in` says how many do; `s*`, KL and ratio are of these alone: those of smaller `s*`, or those in
which unlearning has a minimiser.
""".strip()
GEOMETRIES = ("plain", "even")
ALMOST_EXACT = 1e-6
HEADINGS = {
    "beta": "β",
    "lam": "λ",
    "effective_s": "s*",
    "kl": "KL",
    "kl_ratio": "ratio",
    "nominal_kl": "KL to the nominal target",
    "nominal_tv": "TV to the nominal target",
    "exact_lam": "least exact λ",
    "g_pos": "log p, positives",
    "g_neg": "log p, negatives",
}


def page(worlds: pd.DataFrame, summary: pd.DataFrame) -> str:
    """The page, from the rows of all worlds and their summary."""
    parts = ["# The exact small world", LEGEND, theorem(worlds)]
    for degree, rows in summary.groupby("informativeness"):
        nats = estimate(rows.iloc[0], "information")
        parts += [
            f"## Informativeness {degree:g}: sequence and label share {nats} nats",
            "\n".join(f"- {text}" for text in sentences(rows)),
            "### Which is nearer to the target",
            markdown.table(nearer(rows)),
            "### Decoding with CFG, beside the target that it names",
            _table(
                rows[(rows["kind"] == "decoding") & (rows["method"] == "cfg")],
                ["s"],
                ["nominal_kl", "nominal_tv"],
            ),
            "### Exact minimisers",
            _minima(rows[rows["exact"] == rows["exists"]]),
            "### Minimisers downhill of phi, where λ is above the least exact λ of some worlds",
            _minima(rows[rows["exact"] < rows["exists"]]),
            "### Along gradient descent from phi",
            "\n".join(f"- {text}" for text in others(rows)),
            _table(
                rows[rows["kind"].isin(GEOMETRIES)],
                ["kind", "method", "beta", "lam", "step"],
                ["g_pos", "g_neg"],
            ),
        ]
    return "\n\n".join(parts) + "\n"


def theorem(worlds: pd.DataFrame) -> str:
    """How soon the free minimiser of the NCE loss is the log ratio in every world."""
    errors = worlds[worlds["kind"] == "nce"].groupby("step")["error"].max()
    exact = errors[errors <= ALMOST_EXACT]
    found = f"from Newton step {exact.index[0]:g} on" if len(exact) else "never"
    return (
        f"Theorem 3.1: the r(x, c) that minimises the NCE loss is within {ALMOST_EXACT:g} of "
        f"log p(x|c)/p(x) {found}, and within {errors.iloc[-1]:.1g} "
        f"after {errors.index[-1]:g}, everywhere in all worlds."
    )


def sentences(rows: pd.DataFrame) -> list[str]:
    """Three of one informativeness: CFG, CCA's minimisers, CCA's paths."""
    return [decoding(rows), minimisers(rows), paths(rows)]


def decoding(rows: pd.DataFrame) -> str:
    """How far CFG is from the target that it names."""
    cfg = rows[(rows["kind"] == "decoding") & (rows["method"] == "cfg")]
    scales = ", ".join(f"{s:g}" for s in cfg["s"])
    distances = ", ".join(f"{value:.2g}" for value in cfg["nominal_kl"])
    return f"Per-token CFG at s = {scales} is KL {distances} from the target that it names."


def minimisers(rows: pd.DataFrame) -> str:
    """How near CCA's minimisers are to a target, of which scale, and whether CFG is nearer."""
    cca = rows[(rows["kind"] == "minimiser") & (rows["method"] == "cca")]
    parts = []
    for name, part in (
        ("CCA's exact minimisers", cca[cca["exact"] == 1]),
        ("CCA's minimisers downhill of phi, above the least exact λ,", cca[cca["exact"] < 1]),
    ):
        if len(part):
            below = (part["effective_s"] < part["s"]).sum()
            parts.append(
                f"{name} lie within KL {part['kl'].min():.2g} to {part['kl'].max():.2g} of a target, "
                f"in {below} of {len(part)} settings one of a scale below the nominal 1/β; "
                f"CCA is nearer than CFG in {_counts(part)[0]} of them, CFG in {_counts(part)[1]}"
            )
    return f"{'. '.join(parts)}."


def paths(rows: pd.DataFrame) -> str:
    """How often CCA is nearer than CFG while it is trained."""
    cca = rows[rows["kind"].isin(GEOMETRIES) & (rows["method"] == "cca")]
    if cca.empty:
        return "No path of CCA was computed."
    even = cca[cca["kind"] == "even"]
    (ours, theirs), (ours_even, theirs_even) = _counts(cca), _counts(even)
    return (
        f"Along gradient descent from phi CCA is nearer than CFG at {ours} of {len(cca)} points, "
        f"CFG at {theirs}; of the {len(even)} of even descent at {ours_even} and {theirs_even}."
    )


def nearer(rows: pd.DataFrame) -> pd.DataFrame:
    """Where CCA, and where CFG, is nearer to the target: the β of minimisers, the ``s*`` of paths."""
    cca = rows[rows["method"] == "cca"]
    groups = [
        (f"minimisers, λ = {lam:g}", group, [f"{beta:g}" for beta in group["beta"]], "β = ")
        for lam, group in cca[cca["kind"] == "minimiser"].groupby("lam")
    ]
    groups += [
        (
            f"{kind} descent, β = {beta:g}, λ = {lam:g}",
            group,
            [_scale(row) for _, row in group.iterrows()],
            "s* = ",
        )
        for (kind, beta, lam), group in cca[cca["kind"].isin(GEOMETRIES)].groupby(
            ["kind", "beta", "lam"], sort=False
        )
    ]
    table = []
    for name, group, places, what in groups:
        sides = {"CCA is nearer at": _cca_is_nearer(group), "CFG is nearer at": _cfg_is_nearer(group)}
        sides["undecided at"] = ~(sides["CCA is nearer at"] | sides["CFG is nearer at"])
        cells = {
            side: ", ".join(p for p, is_so in zip(places, so, strict=True) if is_so)
            for side, so in sides.items()
        }
        table.append({"CCA": name} | {side: what + cell if cell else "-" for side, cell in cells.items()})
    return pd.DataFrame(table)


def _cca_is_nearer(rows: pd.DataFrame) -> pd.Series:
    """Where CCA is nearer than CFG: the whole interval of the ratio says so."""
    return rows["kl_ratio_high"] < 1


def _cfg_is_nearer(rows: pd.DataFrame) -> pd.Series:
    """Where CFG is."""
    return rows["kl_ratio_low"] > 1


def others(rows: pd.DataFrame) -> list[str]:
    """Where DPO and unlearning go."""
    texts = []
    on_path = rows[rows["kind"].isin(GEOMETRIES) & rows["method"].isin(["dpo", "unlearn"])]
    given = ["kind", "method", "beta", "lam"]
    for (kind, method, beta, lam), path in on_path.groupby(given, sort=False, dropna=False):
        name = method + "".join(f", {key} = {v:g}" for key, v in (("β", beta), ("λ", lam)) if pd.notna(v))
        before, last = path.iloc[max(0, len(path) - 2)], path.iloc[-1]
        texts.append(
            f"After {last['step']:g} {kind} steps {name} is KL {estimate(last, 'kl')} from the target of "
            f"s* = {_scale(last)}; log p of positives and negatives has changed by "
            f"{last['g_pos']:.2g} and {last['g_neg']:.2g}, after {before['step']:g} by "
            f"{before['g_pos']:.2g} and {before['g_neg']:.2g}."
        )
    bounded = rows[(rows["kind"] == "minimiser") & (rows["method"] == "unlearn")]
    shares = ", ".join(f"{row['exists']:.0%} at λ = {row['lam']:g}" for _, row in bounded.iterrows())
    return [*texts, f"Unlearning has a minimiser in {shares} of the worlds; elsewhere its loss has no bound."]


def _scale(row: pd.Series) -> str:
    """The effective scale, and in how many worlds there is one if not in all."""
    partly = f" (in {row['found']} of {row['worlds']} worlds)" if row["found"] < row["worlds"] else ""
    return f"{row['effective_s']:.2g}{partly}"


def _counts(rows: pd.DataFrame) -> tuple[int, int]:
    """In how many CCA is nearer, and in how many CFG."""
    return int(_cca_is_nearer(rows).sum()), int(_cfg_is_nearer(rows).sum())


def estimate(row: pd.Series, name: str) -> str:
    """For example ``0.0248 [0.0203, 0.0292]``."""
    if pd.isna(row[name]):
        return "-"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    interval = "" if low is None or pd.isna(low) else f" [{low:.3g}, {high:.3g}]"
    return f"{row[name]:.3g}{interval}"


def brief(rows: pd.DataFrame, settings: list[str], measured: list[str]) -> pd.DataFrame:
    """The rows as text: what each is about, the nearest target, the ``measured`` columns that have values."""
    cells = {HEADINGS.get(name, name): rows[name].map(_number) for name in settings}
    if (rows["found"] < rows["worlds"]).any():
        cells["found in"] = [f"{row['found']} of {row['worlds']}" for _, row in rows.iterrows()]
    for name in ["effective_s", "kl", "kl_ratio", *measured]:
        if rows[name].notna().any():
            cells[HEADINGS.get(name, name)] = [estimate(row, name) for _, row in rows.iterrows()]
    return pd.DataFrame(cells)


def _number(value: object) -> object:
    if isinstance(value, str):
        return value
    return "-" if pd.isna(value) else f"{value:g}"


def _minima(rows: pd.DataFrame) -> str:
    rows = rows[(rows["kind"] == "minimiser") & (rows["exists"] > 0)]
    return _table(rows, ["method", "beta", "lam", "s"], ["nominal_kl", "exact_lam"]) if len(rows) else "None."


def _table(rows: pd.DataFrame, settings: list[str], measured: list[str]) -> str:
    return markdown.table(brief(rows, settings, measured))
