"""Every problem of a configuration is one line that names the key and what it allows."""

from typing import Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from cca.errors import CCAError
from cca.settings import Settings, as_value_error, validate


class Inner(Settings):
    """A section."""

    rate: float = Field(default=0.5, ge=0, le=1)
    kind: Literal["plain", "fancy"] = "plain"
    number: int = 1


class Outer(Settings):
    """Sections in a section."""

    name: str
    inner: Inner = Inner()
    many: dict[str, Inner] = Field(default={})

    @model_validator(mode="after")
    def _names_differ(self) -> "Outer":
        if self.name in self.many:
            raise ValueError(f"'{self.name}' is also one of the many")
        return self


def problem(values: object) -> str:
    with pytest.raises(CCAError) as error:
        validate(Outer, values, "tier.yaml")
    return str(error.value)


def test_what_is_allowed_comes_back_with_defaults() -> None:
    made = validate(Outer, {"name": "a", "many": {"b": {"rate": 1}}}, "tier.yaml")
    assert made == Outer(name="a", many={"b": Inner(rate=1.0)})
    assert made.inner == Inner(rate=0.5, kind="plain", number=1)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Inner().rate = 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # unknown keys, with those that there are where that can be told
        ({"name": "a", "naem": 1}, "unknown key 'naem'; allowed keys: inner, many, name"),
        ({"name": "a", "inner": {"rat": 1}}, "unknown key 'inner.rat'; allowed keys: kind, number, rate"),
        ({"name": "a", "many": {"b": {"rat": 1}}}, "unknown key 'many.b.rat'"),
        # missing keys and values of a wrong type or out of range
        ({}, "key 'name' is missing"),
        ({"name": ["a"]}, "key 'name': Input should be a valid string"),
        (
            {"name": "a", "inner": {"rate": 2}},
            "key 'inner.rate': Input should be less than or equal to 1, got 2",
        ),
        (
            {"name": "a", "many": {"b": {"number": "x"}}},
            "key 'many.b.number': Input should be a valid integer",
        ),
        (
            {"name": "a", "inner": {"kind": "odd"}},
            "key 'inner.kind': Input should be 'plain' or 'fancy', got 'odd'",
        ),
        ({"name": "a", "inner": {"rate": float("nan")}}, "key 'inner.rate': Input should be a finite number"),
        # a whole section
        ({"name": "b", "many": {"b": {}}}, "'b' is also one of the many"),
        ([1, 2], "Input should be a valid dictionary or instance of Outer"),
        (None, "Input should be a valid dictionary or instance of Outer"),
    ],
)
def test_problems_are_one_line(values: object, message: str) -> None:
    said = problem(values)
    assert said.startswith(f"tier.yaml: {message}")
    assert "\n" not in said and "more)" not in said


def test_of_several_problems_an_unknown_key_is_told_first() -> None:
    assert problem({"inner": {"rate": 2}}) == "tier.yaml: key 'name' is missing (and 1 more)"
    said = problem({"inner": {"rate": 2}, "naem": "a"})
    assert said == "tier.yaml: unknown key 'naem'; allowed keys: inner, many, name (and 2 more)"


def test_errors_of_this_project_pass_through_validators() -> None:
    with pytest.raises(ValueError, match=r"^one line$") as error, as_value_error():
        raise CCAError("one line")
    assert not isinstance(error.value, CCAError)
