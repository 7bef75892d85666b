"""Claims with verdicts: the paper's statements, judged on what a tier measured.

A claim holds if all its rules hold. A rule has one effect, computed seed by seed on numbers that share
their random draws; its verdict is that of the effect's 95 % t-interval over seeds. With one seed
there is no interval: the number itself decides, and the verdict says so. Cost is measured by
repetitions in place of seeds, and its interval is their range. Intervals say nothing of pretraining,
which has one seed, and are not corrected for the number of claims.

A claim about something that the tier does not measure stays in the table, as inconclusive.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from cca.files import atomic
from cca.report.claims import markdown
from cca.report.claims.definitions import Claim, Claims, load
from cca.report.claims.evidence import Evidence, NotMeasured, from_paper, read_reported
from cca.report.claims.roles import TierClaims
from cca.report.claims.rules import Rule
from cca.report.claims.verdicts import Verdict, combine, judge, over_repetitions, over_seeds
from cca.report.measured import Context, Measured

OUTCOMES = {Verdict.REPRODUCED: "holds", Verdict.NOT_REPRODUCED: "fails", Verdict.INCONCLUSIVE: "undecided"}


class ClaimsSettings(Context):
    """Settings of stage ``claims``."""

    families: dict[str, str] = Field(description="the family of each model")
    content: TierClaims

    def files(self, results: Path) -> list[Path]:
        """What the verdicts are made of."""
        return [results / path for path in self.content.files()]


def run(settings: ClaimsSettings, *, results: Path, claims: Path, reported: Path, out: Path) -> dict:
    """Stage ``claims``: a row a claim and model, as ``.csv`` and ``.md``.

    Raises:
        CCAError: a file of claims that is not valid, or a measurement that is missing.
    """
    defined = load(claims)
    tables = {name: read_reported(reported, name) for name in defined.rows}
    measured = Measured(results, settings)
    rows = []
    for claim in defined.claims:
        for entry in settings.content.models:
            evidence = Evidence(measured, entry, settings.content.arms(entry))
            row = {
                "claim": claim.id,
                "statement": claim.statement,
                "where": claim.where,
                "model": measured.title(entry.model),
                "benchmark": settings.benchmark,
                "rule": _join([rule.words()[0] for rule in claim.rules]),
                "reported": _said(claim, defined, tables, settings.families[entry.model]),
            }
            rows.append(row | evaluate(claim, evidence))
    frame = pd.DataFrame(rows).astype({"seeds": "Int64"})
    for path, text in (
        (out.with_suffix(".md"), markdown.page(frame, settings.content, settings.titles)),
        (out, frame.to_csv(index=False)),
    ):
        with atomic(path) as temporary:
            temporary.write_text(text)
    found = frame["verdict"].str.partition(" (")[0]
    return {str(verdict): int((found == verdict).sum()) for verdict in Verdict}


def evaluate(claim: Claim, evidence: Evidence) -> dict:
    """What was measured, the verdict, and the least number of seeds of the claim's rules."""
    found = [_apply(rule, evidence) for rule in claim.rules]
    verdict = combine([verdict for _, verdict, _ in found])
    counts = [seeds for _, _, seeds in found if seeds is not None]
    seeds = min(counts, default=None)
    label = str(verdict)
    if verdict is Verdict.INCONCLUSIVE and 0 in counts:
        label += " (not measured in this tier)"
    elif seeds == 1:
        label += " (one seed)"
    return {"measured": _join([text for text, _, _ in found]), "verdict": label, "seeds": seeds}


def _apply(rule: Rule, evidence: Evidence) -> tuple[str, Verdict, int | None]:
    """What a rule finds, in words; its verdict; the number of seeds, 0 if nothing was measured."""
    try:
        arrays, seeds = evidence.values(rule.quantities)
    except NotMeasured as missing:
        return f"not measured: {missing}", Verdict.INCONCLUSIVE, 0
    summarise = over_repetitions if seeds is None else over_seeds
    effect = summarise(rule.effect(arrays))
    verdict = judge(effect, rule.bounds)
    values = [
        f"{name} {' / '.join(summarise(point).spread for point in array.T)}"
        for name, array in zip(rule.quantities, arrays, strict=True)
        if isinstance(name, str)
    ]
    defined = f"{rule.words()[1]} {effect.text}" if np.isfinite(effect.value) else "effect not defined"
    return f"{', '.join(values)}: {defined}, {OUTCOMES[verdict]}", verdict, seeds


def _said(claim: Claim, defined: Claims, tables: dict[str, pd.DataFrame], family: str) -> str | None:
    """What the paper reports of the claim's quantities, for the family's model in the claim's table."""
    row = defined.rows[claim.table].get(family) if claim.table else None
    if row is None:
        return None
    names = dict.fromkeys(name for rule in claim.rules for name in rule.quantities if isinstance(name, str))
    values = {name: from_paper(name, tables[claim.table], row) for name in names}
    told = [f"{name} {value:g}" for name, value in values.items() if value is not None]
    return f"{row}: {', '.join(told)}" if told else None


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else "; ".join(f"({i}) {part}" for i, part in enumerate(parts, 1))
