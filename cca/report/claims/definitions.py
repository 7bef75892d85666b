"""The file of claims: what the paper says, and the rules that a measurement of it must obey."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from cca.files import read_yaml
from cca.report.claims.quantities import parse
from cca.report.claims.rules import Falls, FractionOfGap, Greater, Less, Ratio, Rises, Rule, SameCurve
from cca.settings import Settings, as_value_error, validate

RULES: dict[str, type[Rule]] = {
    "less": Less,
    "greater": Greater,
    "rises": Rises,
    "falls": Falls,
    "fraction_of_gap": FractionOfGap,
    "ratio": Ratio,
    "same_curve": SameCurve,
}


def build(values: object) -> Rule:
    """The rule of an entry ``{<name>: {<parameters>}}``.

    Raises:
        CCAError: not one name, or parameters that it does not allow.
        ValueError: no such rule.
    """
    if isinstance(values, Rule):
        return values
    if not (isinstance(values, dict) and len(values) == 1):
        raise ValueError(f"a rule is one of {', '.join(RULES)} with its parameters")
    ((name, parameters),) = values.items()
    if name not in RULES:
        raise ValueError(f"'{name}' is not one of the rules: {', '.join(RULES)}")
    rule = validate(RULES[name], parameters, name)
    roles = {parse(quantity).role for quantity in rule.quantities if isinstance(quantity, str)}
    if "cost" in roles and len(roles) > 1:
        raise ValueError(f"'{name}' mixes cost, which has no seeds, with roles that have seeds")
    return rule


def _rule(values: object) -> Rule:
    with as_value_error():
        return build(values)


class Claim(Settings):
    """One statement of the paper."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    statement: str = Field(min_length=1)
    where: str = Field(min_length=1, description="where in the paper")
    table: str | None = Field(default=None, description="reported table to show beside the measurement")
    rules: list[Annotated[Rule, BeforeValidator(_rule)]] = Field(min_length=1)


class Claims(Settings):
    """All of them, and by reported table the row that stands for each model family."""

    rows: dict[str, dict[str, str]]
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known_and_unique(self) -> "Claims":
        names = [claim.id for claim in self.claims]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the claim '{min(twice)}' is given twice")
        for claim in self.claims:
            if claim.table is not None and claim.table not in self.rows:
                raise ValueError(f"claim '{claim.id}': table '{claim.table}' is not one of {list(self.rows)}")
        return self


def load(path: Path) -> Claims:
    """Read a file of claims.

    Raises:
        CCAError: one line that says what is wrong with it.
    """
    return validate(Claims, read_yaml(path), str(path))
