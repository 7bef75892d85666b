"""The documentation as a site: built as README says, whole without a network, and true of the code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..pages import elsewhere
from .commands import PAGES, REPOSITORY, commands

PLACE = re.compile(r"`(cca/[\w/]+\.py):([\w.]+)`")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every page's HTML, by its path."""
    folder = tmp_path_factory.mktemp("site")
    (command,) = [c.words for c in commands(REPOSITORY / "README.md") if c.words[0] == "mkdocs"]
    run = subprocess.run(
        [sys.executable, "-m", *command, "--site-dir", folder], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.html")}


def test_nothing_is_loaded_from_elsewhere(site: dict[str, str]) -> None:
    assert len(site) > 15
    for page, html in site.items():
        assert not elsewhere(html), page


def test_formulas_and_the_diagram_need_no_script(site: dict[str, str]) -> None:
    written = (REPOSITORY / "docs/method.md").read_text().replace("$$", "$").count("$") / 2
    assert site["method.html"].count("<math") == written > 30
    assert not [page for page, html in site.items() if "arithmatex" in html or 'class="mermaid"' in html]
    assert re.search(r"<code>finetune</code></td>\s*<td>.*<code>score</code>", site["workflow.html"])


def test_every_function_that_a_page_names_is_there() -> None:
    places = [(path, name) for page in PAGES for path, name in PLACE.findall(page.read_text())]
    assert len(places) > 30
    missing = [f"{path}:{name}" for path, name in places if name not in defined(REPOSITORY / path)]
    assert not missing


def defined(module: Path) -> set[str]:
    """Functions, classes and methods of a module, methods as ``Class.method``."""
    found = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return found
