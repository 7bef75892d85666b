"""The digest follows code and imports, and ignores comments and docstrings."""

import importlib
import sys
from pathlib import Path

import pytest

from cca.records import codebase


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up sub-package of cca: a imports b, c stands alone."""
    root = tmp_path / "sandbox"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text(
        '"""Doc."""\nfrom cca.sandbox import b\n\ndef f():\n    """Doc."""\n    return b.x\n'
    )
    (root / "b.py").write_text("x = 1\n")
    (root / "c.py").write_text("y = 1\n")
    import cca

    monkeypatch.setattr(cca, "__path__", [*cca.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    forget()
    yield root
    for name in [name for name in sys.modules if name.startswith("cca.sandbox")]:
        del sys.modules[name]
    forget()


def forget() -> None:
    """Modules are read once a process."""
    codebase._read.cache_clear()
    codebase._found.cache_clear()


def digest_after(path: Path, text: str) -> str:
    path.write_text(text)
    forget()
    return codebase.digest("cca.sandbox.a")


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    before = codebase.digest("cca.sandbox.a")
    after = digest_after(
        package / "a.py", '"""New."""\nfrom cca.sandbox import b  # c\n\n\ndef f():\n    return (b.x)\n'
    )
    assert after == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('x = 1\n"""Of x."""\n', "x = 1\n"),
        ("class A:\n    x: int\n    'Of x.'\n", "class A:\n    x: int\n    'New.'\n"),
        ("async def f():\n    'Doc.'\n    pass\n", "async def f():\n    pass\n"),
        ("if True:\n    x = 1\nelse:\n    'Not.'\n    x = 2\n", "if True:\n    x = 1\nelse:\n    x = 2\n"),
    ],
)
def test_strings_that_are_statements_do_not_count(package: Path, before: str, after: str) -> None:
    assert digest_after(package / "a.py", before) == digest_after(package / "a.py", after)


def test_strings_that_are_values_count(package: Path) -> None:
    texts = ("x = 'a'\n", "x = 'b'\n", "f('a')\n", "f('b')\n", "def f():\n    return 'a'\n")
    assert len({digest_after(package / "a.py", text) for text in texts}) == len(texts)


def test_code_of_imported_modules_counts_and_of_others_not(package: Path) -> None:
    before = codebase.digest("cca.sandbox.a")
    assert digest_after(package / "c.py", "y = 2\n") == before
    assert digest_after(package / "b.py", "x = 2\n") != before


def test_plug_ins_count_when_named(package: Path) -> None:
    assert codebase.digest("cca.sandbox.a", "cca.sandbox.c") != codebase.digest("cca.sandbox.a")


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        ("p.py", "from . import b"),
        ("p.py", "from .b import x"),
        ("deep/__init__.py", "from .. import b"),
        ("deep/__init__.py", "from ..b import x"),
        ("deep/p.py", "from ..b import x"),
    ],
)
def test_relative_imports_are_followed(package: Path, place: str, statement: str) -> None:
    (package / "deep").mkdir()
    (package / "deep/__init__.py").touch()
    (package / place).write_text(f"{statement}\n")
    module = f"cca.sandbox.{place.removesuffix('.py').replace('/', '.').removesuffix('.__init__')}"
    assert "cca.sandbox.b" in codebase.reached(module)
    assert "cca.sandbox.c" not in codebase.reached(module)


def test_stages_do_not_depend_on_the_schema_or_the_command_line() -> None:
    found = set(codebase.reached("cca.stages.finetune"))
    assert {"cca.stages.score", "cca.objectives", "cca.models", "cca.guidance"} <= found
    assert not {"cca.config", "cca.cli", "cca.records.provenance"} & found


WITHOUT_CODES = [
    "data.images",
    "stages.train_classifier",
    "evaluate.reference",
    "evaluate.evaluator",
    "report.tables",
]
WITHOUT_A_MODEL = [
    *WITHOUT_CODES,
    "stages.train_tokenizer",
    "data.encode",
    "data.codes",
    "stages.pairs",
    "report.figures",
    "report.claims",
]


@pytest.mark.parametrize("stage", WITHOUT_A_MODEL)
def test_stages_without_a_model_do_not_depend_on_models(stage: str) -> None:
    found = codebase.reached(f"cca.{stage}")
    assert not [module for module in found if module.startswith(("cca.models", "cca.guidance"))]


@pytest.mark.parametrize("stage", WITHOUT_CODES)
def test_stages_without_codes_do_not_depend_on_tokenizers(stage: str) -> None:
    assert "cca.tokenizers" not in codebase.reached(f"cca.{stage}")


def test_modules_are_read_and_not_imported(package: Path) -> None:
    (package / "a.py").write_text("from cca.sandbox.b import x\nfrom cca.sandbox.c import y\n")
    (package / "b.py").write_text("raise AssertionError('imported')\n")
    assert codebase.reached("cca.sandbox.a") == [f"cca.sandbox.{name}" for name in "abc"]
    assert not {"cca.sandbox", "cca.sandbox.b"} & set(sys.modules)
