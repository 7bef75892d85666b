"""The jobs of a tier, as Snakemake itself plans them, and which of them a target needs."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cca.errors import CCAError

EVERYTHING = "all"


@dataclass(frozen=True)
class Job:
    """One job of a dry run."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    wildcards: tuple[tuple[str, str], ...]

    def __getitem__(self, wildcard: str) -> str:
        """The value of a wildcard; empty where the rule has none of this name."""
        return dict(self.wildcards).get(wildcard, "")


def planned(snakefile: Path, config: dict) -> list[Job]:
    """The jobs of everything, as if nothing were made, in the current folder.

    Raises:
        CCAError: Snakemake refuses the tier.
    """
    command = [sys.executable, "-m", "snakemake", "-s", str(snakefile), "--cores", "1"]
    options = ["--dry-run", "--forceall", "--nocolor", "--nolock", EVERYTHING, "--config"]
    given = [f"{key}={json.dumps(value)}" for key, value in config.items() if value is not None]
    run = subprocess.run([*command, *options, *given], capture_output=True, text=True)
    if run.returncode:
        errors = [line for line in run.stderr.splitlines() if "rror" in line] or [run.stderr.strip()[-300:]]
        raise CCAError(errors[-1].removeprefix("error: "))
    return parse(run.stdout + run.stderr)


def parse(printed: str) -> list[Job]:
    """The jobs that a dry run has printed: blocks of ``rule NAME:`` and indented lines ``key: values``."""
    jobs = []
    blocks = re.split(r"^(?:local)?rule (\w+):$", printed, flags=re.MULTILINE)[1:]
    for rule, block in zip(blocks[::2], blocks[1::2], strict=True):
        fields = dict(re.findall(r"^    (\w+): (.*)$", block, flags=re.MULTILINE))
        files = {key: tuple(fields[key].split(", ")) if key in fields else () for key in ("input", "output")}
        wildcards = re.findall(r"(\w+)=([^,]*)", fields.get("wildcards", ""))
        jobs.append(Job(rule, files["input"], files["output"], tuple(wildcards)))
    return jobs


def needed(jobs: Iterable[Job], targets: Iterable[str]) -> list[Job]:
    """The jobs that files ``targets`` need, their makers included, in the order of ``jobs``."""
    jobs = list(jobs)
    maker = {file: job for job in jobs for file in job.outputs}
    found: set[Job] = set()
    wanted = [maker[file] for file in targets]
    while wanted:
        job = wanted.pop()
        if job not in found:
            found.add(job)
            wanted += [maker[file] for file in job.inputs if file in maker]
    return [job for job in jobs if job in found]


def targets(jobs: Iterable[Job]) -> dict[str, list[str]]:
    """What users ask for, one name for all spellings of an artefact (.csv, .md, ...): its files, by name."""
    found: dict[str, list[str]] = {}
    for job in jobs:
        for file in job.outputs:
            if re.fullmatch(r"(results|paper_figures)/\w+\.\w+", file) and job.rule.startswith("publish"):
                found.setdefault(str(Path(file).with_suffix("")), []).append(file)
    return dict(sorted(found.items()))


def files_of(target: str, known: dict[str, list[str]]) -> list[str]:
    """The files of a target of `targets`, called by its name or by one of its files.

    Raises:
        CCAError: there is no such one.
    """
    for name, files in known.items():
        if target in (name, *files):
            return files
    raise CCAError(f"target '{target}' is not one of: {', '.join(known)}")
