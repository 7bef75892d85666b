"""Version, changes, citation and container definitions agree with each other and with README."""

import re

import yaml

import cca

from .commands import REPOSITORY, commands


def test_the_version_has_its_changes_and_is_the_one_to_cite() -> None:
    assert yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"] == cca.__version__
    newest = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == cca.__version__


def test_containers_install_as_readme_does() -> None:
    wanted = next(c.words for c in commands(REPOSITORY / "README.md") if c.words[0] == "pip")
    for name in ("Dockerfile", "apptainer.def"):
        text = (REPOSITORY / name).read_text()
        line = re.search(r"^\s*(?:RUN )?(pip install .*)$", text, re.MULTILINE)[1].split()
        assert [word for word in line if word != "--no-cache-dir"] == list(wanted)
        assert re.search(r"^(?:FROM|From:) python:3\.11-slim$", text, re.MULTILINE)


def test_apptainer_takes_everything_that_a_run_needs_and_that_is_there() -> None:
    text = (REPOSITORY / "apptainer.def").read_text()
    section = re.search(r"^%files\n(.*?)^%", text, re.MULTILINE | re.DOTALL)[1]
    taken = [line.split()[0] for line in section.splitlines() if line.strip()]
    assert all((REPOSITORY / name).exists() for name in taken if name != ".git")
    assert {"Snakefile", "cca", "workflow", "profiles", "pyproject.toml", "README.md"} <= set(taken)
