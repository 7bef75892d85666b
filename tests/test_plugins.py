"""Plug-ins are found by name, and what they do not allow is one line."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from cca import plugins
from cca.errors import CCAError

PLUG_IN = """
from cca.settings import Settings

class Sizes(Settings):
    width: int
    depth: int = 2
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A made-up package ``shapes.solids`` of two plug-ins and a helper."""
    root = tmp_path / "shapes/solids"
    root.mkdir(parents=True)
    for name in ("../__init__", "__init__", "_common"):
        (root / f"{name}.py").touch()
    for name in ("cube", "ball"):
        (root / f"{name}.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield root
    for name in [name for name in sys.modules if name.split(".")[0] == "shapes"]:
        del sys.modules[name]


def test_names_are_those_of_the_public_modules(package: Path) -> None:
    assert plugins.names("shapes.solids") == ["ball", "cube"]
    (package / "cone.py").touch()
    assert plugins.names("shapes.solids") == ["ball", "cone", "cube"]


def test_a_plug_in_is_imported_by_its_name() -> None:
    assert plugins.load("shapes.solids", "cube").__name__ == "shapes.solids.cube"
    assert "shapes.solids.ball" not in sys.modules


@pytest.mark.parametrize("name", ["cubes", "_common", "__init__", "", "cube.Sizes"])
def test_what_is_no_plug_in_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(CCAError) as error:
        plugins.load("shapes.solids", name)
    assert str(error.value) == f"'{name}' is not one of the solids: ball, cube"


def test_settings_are_checked_by_the_plug_in() -> None:
    sizes = plugins.configure("shapes.solids", "cube", "Sizes", {"width": 3})
    assert sizes.model_dump() == {"width": 3, "depth": 2}
    assert plugins.configure("shapes.solids", "cube", "Sizes", sizes) is sizes
    with pytest.raises(
        CCAError, match=r"^cube: unknown key 'widht'; allowed keys: depth, width \(and 1 more\)$"
    ):
        plugins.configure("shapes.solids", "cube", "Sizes", {"widht": 3})


def test_a_section_of_plug_ins_is_checked_entry_by_entry() -> None:
    section = {"ball": {"width": 1}, "cube": {"width": 2, "depth": 5}}
    made = plugins.configure_all("shapes.solids", "Sizes", section)
    assert [type(value).__module__ for value in made.values()] == ["shapes.solids.ball", "shapes.solids.cube"]
    assert made["cube"].depth == 5


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"cone": {}}, "'cone' is not one of the solids: ball, cube"),
        ({"ball": {"width": 1}, "cube": {}}, "cube: key 'width' is missing"),
    ],
)
def test_problems_of_a_section_are_ones_that_a_validator_may_raise(section: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        plugins.configure_all("shapes.solids", "Sizes", section)
    assert not isinstance(error.value, CCAError | ValidationError)
    assert str(error.value) == message
