"""Base class of every section of a tier file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, ValidationError

from cca.errors import CCAError

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """A validated, immutable section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)
    only_refuse: ClassVar[frozenset[str]] = frozenset()
    """Fields that change no result: with another value of them a run that was refused is gone on with."""


def validate(schema: type[S], values: object, where: str) -> S:
    """Build ``schema`` from plain ``values``.

    Raises:
        CCAError: one line naming ``where`` (a file or an option), the key, and what it allows.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise CCAError(f"{where}: {describe(error, schema)}") from None


def describe(error: ValidationError, schema: type[Settings]) -> str:
    """One problem of a validation error as one line: an unknown key (a misspelling?) first."""
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"]) or "(the whole section)"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _fields_at(schema, first["loc"][:-1])
        allowed = f"; allowed keys: {', '.join(known)}" if known else ""
        return f"unknown key '{key}'{allowed}{more}"
    if first["type"] == "missing":
        return f"key '{key}' is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    given = f", got {first['input']!r}" if isinstance(first["input"], str | int | float | None) else ""
    return f"key '{key}': {message}{given}{more}" if first["loc"] else f"{message}{more}"


def merge(values: dict, overrides: dict) -> dict:
    """``values`` with the leaves of ``overrides`` put in their places."""
    merged = dict(values)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


@contextmanager
def as_value_error() -> Iterator[None]:
    """Turn a `CCAError` into the `ValueError` that pydantic wants of a validator."""
    try:
        yield
    except CCAError as error:
        raise ValueError(str(error)) from None


def distinct(values: list) -> list:
    """The values; a `ValueError` where one is given twice, which would count one run as several."""
    if len(set(values)) < len(values):
        raise ValueError(f"{values} are not different from each other")
    return values


Seeds = Annotated[list[NonNegativeInt], AfterValidator(distinct)]
"""Seeds over which a mean is taken."""


def _fields_at(schema: type[Settings], path: tuple[int | str, ...]) -> list[str]:
    """Field names of the section that ``path`` leads to, or none where it cannot be told."""
    for part in path:
        field = schema.model_fields.get(str(part))
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, Settings)):
            return []
        schema = kind
    return sorted(schema.model_fields)
