"""Plug-ins are modules of a package, found by name: one file and one config entry add one."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from cca.errors import CCAError
from cca.settings import Settings, as_value_error, validate


def names(package: str) -> list[str]:
    """Names of the public modules of ``package`` (e.g. ``"cca.objectives"``)."""
    paths = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(paths) if not module.name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """Import the plug-in ``name`` of ``package``.

    Raises:
        CCAError: there is no such module; the message lists those that there are.
    """
    if name not in names(package):
        kind = package.rpartition(".")[2]
        raise CCAError(f"'{name}' is not one of the {kind}: {', '.join(names(package))}")
    return importlib.import_module(f"{package}.{name}")


def title(package: str, name: str) -> str:
    """What a plug-in is called where it is shown: the first sentence of its module."""
    return " ".join((load(package, name).__doc__ or name).split("\n\n")[0].split()).rstrip(".")


def configure(package: str, name: str, schema: str, values: object) -> Any:
    """Validate ``values`` with the class ``schema`` of the plug-in ``name``.

    Raises:
        CCAError: no such plug-in, or a key or value that its schema does not allow.
    """
    if isinstance(values, Settings):
        return values
    return validate(getattr(load(package, name), schema), values, name)


def configure_all(package: str, schema: str, section: dict[str, object]) -> dict[str, Settings]:
    """`configure` every entry of a section whose keys name plug-ins; for use as a validator."""
    if not isinstance(section, dict):
        raise ValueError("a mapping is wanted; {} for none")
    with as_value_error():
        return {name: configure(package, name, schema, values) for name, values in section.items()}
