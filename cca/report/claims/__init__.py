"""Claims with verdicts: the paper's statements, judged on what a tier measured.

A claim holds if all its rules hold, and a rule if it does at every point. Effects are computed seed by
seed on numbers that share their random draws; each is judged by its own 95 % t-interval over seeds. With
one seed there is no interval: the verdict is inconclusive, and a note says where the numbers point. Cost
is measured by repetitions in place of seeds, and its interval is their range. Intervals say nothing of
pretraining, which has one seed, and are not corrected for the number of points, rules and claims.

A claim about something that the tier does not measure stays in the table, as inconclusive.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import Field

from cca.estimates import over_repetitions, over_seeds
from cca.files import atomic
from cca.report import html
from cca.report.claims import markdown
from cca.report.claims.definitions import Claim, Claims, load
from cca.report.claims.evidence import Evidence, NotMeasured, from_paper, read_reported
from cca.report.claims.quantities import at_best, parse
from cca.report.claims.roles import TierClaims
from cca.report.claims.rules import Rule
from cca.report.claims.verdicts import Verdict, combine, judge
from cca.report.measured import Context, Measured

OUTCOMES = {Verdict.REPRODUCED: "holds", Verdict.NOT_REPRODUCED: "fails", Verdict.INCONCLUSIVE: "undecided"}
DIRECTIONS = {
    Verdict.REPRODUCED: "agree with",
    Verdict.NOT_REPRODUCED: "disagree with",
    Verdict.INCONCLUSIVE: "do not decide",
}


class ClaimsSettings(Context):
    """Settings of stage ``claims``."""

    families: dict[str, str] = Field(description="the family of each model")
    imported: list[str] = Field(default=[], description="finetunes that are imported, and so have no log")
    content: TierClaims

    def files(self, results: Path) -> list[Path]:
        """What the verdicts are made of."""
        return [results / path for path in self.content.files(self.imported)]


SHOWN = ["statement", "model", "verdict", "note", "measured", "reported", "rule", "where", "seeds"]
"""Columns of the page's details, the verdict first."""


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
            arms = settings.content.arms(entry)
            evidence = Evidence(measured, entry, arms, frozenset(settings.imported))
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
        (out.with_suffix(".html"), html.page("claims", markdown.verdicts(frame, "statement"), frame[SHOWN])),
        (out, frame.to_csv(index=False)),
    ):
        with atomic(path) as temporary:
            temporary.write_text(text)
    return {str(verdict): int((frame["verdict"] == verdict).sum()) for verdict in Verdict}


@dataclass(frozen=True)
class Finding:
    """What a rule found, in words; its verdict; and which one its numbers point to, were they certain."""

    text: str
    verdict: Verdict = Verdict.INCONCLUSIVE
    direction: Verdict = Verdict.INCONCLUSIVE
    seeds: int | None = None  # none where repetitions stand in for them
    missing: str | None = None  # what was not measured; then all else says nothing


def evaluate(claim: Claim, evidence: Evidence) -> dict:
    """What was measured, the verdict, what there is to note, the fewest seeds of any rule measured."""
    found = [_apply(rule, evidence) for rule in claim.rules]
    measured = [finding for finding in found if finding.missing is None]
    seeds = min((finding.seeds for finding in measured if finding.seeds is not None), default=None)
    notes = []
    if missing := dict.fromkeys(finding.missing for finding in found if finding.missing):
        notes.append(f"not measured: {', '.join(missing)}")
    if seeds == 1:
        direction = DIRECTIONS[combine([finding.direction for finding in measured])]
        subject = "what was measured of the claim" if missing else "the claim"
        notes.append(f"one seed; the numbers {direction} {subject}")
    return {
        "measured": _join([finding.text for finding in found]),
        "verdict": str(combine([finding.verdict for finding in found])),
        "note": "; ".join(notes) or None,
        "seeds": seeds,
    }


def _apply(rule: Rule, evidence: Evidence) -> Finding:
    try:
        arrays, seeds = evidence.values(rule.quantities)
    except NotMeasured as missing:
        return Finding(f"not measured: {missing}", missing=str(missing))
    summarise = over_repetitions if seeds is None else over_seeds
    values, shown = [], []
    for quantity, array in zip(rule.quantities, arrays, strict=True):
        name = parse(quantity) if isinstance(quantity, str) else None
        values.append(at_best(array, name.reduction) if name and name.reduction else array)
        if name:
            points = [summarise(point) for point in array.T]
            texts = [point.text if seeds is None else point.spread for point in points]
            shown.append(f"{name.role}.{name.column} {' / '.join(texts)}")
    effects = [summarise(effect) for effect in rule.effect(values).T]
    verdict = combine([judge(effect, rule.bounds) for effect in effects])
    direction = combine([judge(effect.point, rule.bounds) for effect in effects])
    outcome = f"one seed, numbers {DIRECTIONS[direction]} the rule" if seeds == 1 else OUTCOMES[verdict]
    effect = f"{rule.words()[1]} {' / '.join(effect.text for effect in effects)}"
    return Finding(f"{', '.join(shown)}: {effect}, {outcome}", verdict, direction, seeds)


def _said(claim: Claim, defined: Claims, tables: dict[str, pd.DataFrame], family: str) -> str | None:
    """What the paper reports of the claim's quantities, for the family's model in the claim's table."""
    row = defined.rows[claim.table].get(family) if claim.table else None
    if row is None:
        return None
    names = dict.fromkeys(name for rule in claim.rules for name in rule.quantities if isinstance(name, str))
    values = {name: from_paper(name, tables[str(claim.table)], row) for name in names}
    told = [f"{name} {value:g}" for name, value in values.items() if value is not None]
    return f"{row}: {', '.join(told)}" if told else None


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else "; ".join(f"({i}) {part}" for i, part in enumerate(parts, 1))
