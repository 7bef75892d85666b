"""The commands of README and docs: found in fenced ``sh`` blocks, with what is to be done with each.

A comment above a block says it, `<!-- run -->`, or `<!-- dry: why -->` or `<!-- parsed: why -->`:

- run: run for real, at the smoke tier, in the folder of the finished smoke DAG; what it installs is parsed;
- dry: run up to the list of jobs, or replaced by a test of its own which the page names;
- parsed: it needs a network, a GPU, a cluster or hours: programs, options, targets, values of a tier and
  files are checked.

Pages that `cca publish` writes hold targets only, which are run.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cca.plan.jobs import Job, parse

from ..smoke import command

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (run|dry|parsed)(?:: ([^>]+))? -->$")
INLINE = re.compile(r"(?<!`)`((?:cca|snakemake) [^`]+)`(?!`)")


@dataclass(frozen=True)
class Command:
    """One line of a block."""

    page: str
    words: tuple[str, ...]
    kind: str | None
    why: str | None

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def generated(page: str) -> bool:
    """Whether `cca publish` wrote a page."""
    return bool(re.match(r"docs/results/[^/]+/", page))


def commands(page: Path) -> list[Command]:
    """All commands of a page, joined lines and ``&&`` taken apart; ``kind`` is None without a comment."""
    text, name = page.read_text(), page.relative_to(REPOSITORY).as_posix()
    found = []
    for block in BLOCK.finditer(text):
        mark = MARK.search(text[: block.start()].rstrip())
        kind, why = mark.groups() if mark else ("run", None) if generated(name) else (None, None)
        for line in block[2].replace("\\\n", " ").splitlines():
            for words in _parts(line):
                found.append(Command(name, words, kind, why))
    return found


def inline(page: Path) -> list[Command]:
    """Commands within sentences, but for those with a place to fill in; a bare name stands for its help."""
    name = page.relative_to(REPOSITORY).as_posix()
    found = INLINE.findall(BLOCK.sub("", page.read_text()))
    whole = (text for text in found if not re.search(r"<|\b[A-Z]{3,}\b|\.\.\.", text))
    parts = [part for text in whole for part in _parts(text)]
    bare = {part for part in parts if part[0] == "cca" and len(part) == 2}
    return [Command(name, (*part, "--help") if part in bare else part, "parsed", "inline") for part in parts]


def block(page: Path, mark: str) -> str:
    """The block of a page under a comment."""
    return re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", page.read_text(), re.DOTALL)[1]


def planned(page: Path, files: Mapping[str, str], results: Path, folder: Path) -> list[Job]:
    """What a page's command of Snakemake plans in ``results`` at the smoke tier.

    Args:
        files: the page's own, by their paths in the repository, of which a copy is made in ``folder``:
            Snakemake imports the package beside its Snakefile.
    """
    for name in ("cca", "workflow", "profiles"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "Snakefile", folder)
    for name, text in files.items():
        (folder / name).write_text(text)
    (shown,) = [found.words for found in commands(page) if found.words[0] == "snakemake"]
    words = [str(folder / word) if word in files else word for word in shown[1:]]
    asked = command(results, *words, snakefile=folder / "Snakefile")
    run = subprocess.run(asked, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr[-3000:]
    return parse(run.stdout + run.stderr)


def _parts(line: str) -> list[tuple[str, ...]]:
    words, parts = shlex.split(line, comments=True), [[]]
    for word in words:
        parts[-1].append(word) if word != "&&" else parts.append([])
    return [tuple(part) for part in parts if part]


@dataclass(frozen=True)
class Snakemake:
    """A call of Snakemake: targets, options, and what ``--config`` takes."""

    targets: tuple[str, ...]
    options: tuple[str, ...]
    config: tuple[str, ...]

    @classmethod
    def of(cls, command: Command) -> "Snakemake":
        """Taken apart; ``--config`` takes everything that follows it."""
        words = list(command.words[1:])
        at = words.index("--config") if "--config" in words else len(words)
        before, config = words[:at], words[at + 1 :]
        options = []
        for option in ("--cores", "--configfile", "--workflow-profile", "--executor", "--jobs"):
            if option in before:
                where = before.index(option)
                options += before[where : where + 2]
                del before[where : where + 2]
        options += [word for word in before if word.startswith("-")]
        targets = [word for word in before if not word.startswith("-")]
        return cls(tuple(targets), tuple(options), tuple(config))

    @property
    def overrides(self) -> tuple[str, ...]:
        """``config`` without the tier, which is smoke here, and the size, which smoke has not."""
        return tuple(part for part in self.config if not part.startswith(("tier=", "preset=")))
