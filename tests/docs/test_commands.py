"""Every command of README and docs is run, or checked as far as it can be: see `commands`."""

import importlib.util
import os
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import snakemake.cli
from typer.main import get_command

from cca import cli
from cca.config import load_tier
from cca.errors import CCAError
from cca.report.lineage import show

from .commands import PAGES, REPOSITORY, Command, Snakemake, commands, generated, inline

ALL = [command for page in PAGES for command in commands(page)]
INSTALLING = [command for command in ALL if command.words[0] == "pip"]
RUN = [command for command in ALL if command.kind == "run" and command not in INSTALLING]
PARSED = [command for command in ALL if command.kind == "parsed" or command in INSTALLING]
OTHERS = {
    "apptainer",
    "docker",
    "git",
    "nvidia-smi",
    "sbatch",
    "scancel",
    "squeue",
    "srun",
    "torchrun",
}
"""Not the project's, and not here: of their arguments the files named are checked."""


def test_every_block_says_what_is_done_with_it() -> None:
    assert len(ALL) > 40
    silent = [str(command) for command in ALL if command.kind is None]
    assert not silent, f"no comment above, as `commands` describes: {silent}"
    assert all(command.why for command in ALL if command.kind != "run"), "dry and parsed give a reason"


def test_as_many_commands_of_written_pages_are_run_as_ever() -> None:
    """27 of 72, most of the 51 that are the project's own; what generated pages hold is not counted."""
    run = [command for command in RUN if not generated(command.page)]
    assert len(run) >= 27, [str(command) for command in ALL if command.kind != "run"]


@pytest.fixture(scope="module")
def place(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user's after the smoke DAG, with the files that pages name."""
    folder = tmp_path_factory.mktemp("docs") / "copy"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".snakemake"))
    (folder / "workflow").symlink_to(REPOSITORY / "workflow")
    made = folder / "results/smoke"
    for name, file in {
        "images.npz": made / "data/images.npz",
        "reference.npz": made / "reference/reference.npz",
        "classifier.safetensors": made / "features/classifier.safetensors",
        "samples.npz": next(made.rglob("seed=0/s=0/samples/1/shard_0.npz")),
    }.items():
        (folder / name).symlink_to(file)
    return folder


def test_targets_and_options_of_snakemake_are_run(finished: Path, snakemake) -> None:
    """Commands with the same options are run as one: starting Snakemake takes seconds."""
    calls = [Snakemake.of(command) for command in RUN if command.words[0] == "snakemake"]
    assert len(calls) > 15
    assert not any(call.overrides for call in calls), "changed settings are computed anew: mark them dry"
    groups: dict[tuple[str, ...], set[str]] = {}
    for call in calls:
        options = tuple(word for word in call.options if word not in ("--cores", "all"))
        groups.setdefault(options, set()).update(call.targets or {"all"})
    for options, targets in groups.items():
        run = snakemake(finished, *options, *sorted(targets))
        assert run.returncode == 0, run.stderr[-3000:]
        assert all((finished / target).exists() for target in targets if "/" in target), targets


def test_the_tree_in_the_docs_is_what_is_drawn(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    printed = (REPOSITORY / "docs/provenance.md").read_text().partition("```text\n")[2].partition("```")[0]
    monkeypatch.chdir(place)
    show(Path("results/table2.csv"), "LlamaGen-S +CCA", "FID")
    shown, drawn = printed.splitlines(), capsys.readouterr().out.splitlines()
    assert len(shown) > 20 and shown[0].startswith("fid of ") and drawn[0].startswith("fid of ")
    for lines in (shown, drawn):  # but what depends on the machine and the day
        lines[:2] = [re.sub(r"\d+\.\d+", "", line) for line in lines[:2]]
        lines[2:] = [re.sub(r", [\d.]+ s, .*", "", line).rstrip() for line in lines[2:]]
    assert shown == drawn


@pytest.mark.parametrize(
    "command", {c.words: c for c in RUN if c.words[0] not in ("snakemake", "mkdocs")}.values(), ids=str
)
def test_commands_of_the_project_are_run(
    command: Command, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert command.words[0] == "cca", f"{command}: run what? mark it parsed, with a reason"
    words = [
        "smoke" if word == "mini" else word.replace("results/mini", "results/smoke") for word in command.words
    ]
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(cli, "make_deterministic", lambda threads: None)
    try:
        cli.main()
    except SystemExit as stop:
        assert stop.code in (None, 0), stop.code
    assert capsys.readouterr().out


def test_another_tier_and_other_values_are_planned(tmp_path: Path, snakemake) -> None:
    dry = [c for c in ALL if c.kind == "dry" and c.words[0] == "snakemake"]
    planned = {Snakemake.of(c) for c in dry if "mine" not in str(c) and "hinge" not in str(c)}
    assert planned
    for call in planned:
        tier = [part for part in call.config if part.startswith("tier=")]
        preset = ["preset=cpu"] if tier == ["tier=cifar10"] and "preset" not in str(call.config) else []
        run = snakemake(tmp_path, "-n", *call.targets, config=(*tier, *preset, *call.overrides))
        assert run.returncode == 0, run.stderr[-3000:]
        assert "pretrain" in run.stdout + run.stderr


@pytest.mark.parametrize("command", dict.fromkeys(PARSED), ids=str)
def test_what_is_not_run_is_spelled_right(command: Command) -> None:
    check_spelling(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_commands_within_sentences_are_spelled_right(page: Path) -> None:
    for command in inline(page):
        check_spelling(command)


def check_spelling(command: Command) -> None:
    """Raise, or fail an assertion, where a command's program, options, targets, values or files are wrong."""
    program, *words = command.words
    if program == "cca":
        try:
            parse_cca(words)
        except Exception as error:  # typer's own copy of click has no public name for it
            if (type(error).__name__, command.why) != ("MissingParameter", "inline"):
                raise
    elif program == "snakemake":
        parse_snakemake(Snakemake.of(command))
    elif program == "pip":
        parse_pip(words)
    elif program in ("python", "python3"):
        module = words[1] if words[0] == "-m" else ""
        file = REPOSITORY / (f"{module.replace('.', '/')}.py" if module else words[0])
        assert file.is_file() or (module and importlib.util.find_spec(module))
    elif program in (".", "cd", "export"):
        assert words
    elif program in ("pytest", "ruff", "mypy", "mkdocs"):
        assert shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    else:
        assert program in OTHERS, f"{command}: what is '{program}'?"
        files = [word for word in words if word.endswith((".def", ".sh", ".smk", ".yaml", ".py"))]
        assert all((REPOSITORY / word).exists() for word in files), files


def parse_cca(words: list[str]) -> None:
    """Let typer parse a command, and each group on the way, without calling it."""
    command, context = get_command(cli.app), None
    while True:
        asked = {"--help", "-h"} & set(words)
        context = command.make_context(command.name, words, parent=context, resilient_parsing=bool(asked))
        rest = [*context._protected_args, *context.args]
        if not hasattr(command, "get_command") or not rest or rest[0] in asked:
            return
        command, words = command.get_command(context, rest[0]), rest[1:]
        assert command is not None, f"cca has no command '{rest[0]}'"


def parse_snakemake(call: Snakemake) -> None:
    """Let Snakemake parse its options, and the tier its values; the profile and the targets are there."""
    _, given = snakemake.cli.parse_args([*call.options, *call.targets])
    for folder in (given.profile, given.workflow_profile):
        assert folder is None or (REPOSITORY / folder).is_dir() or folder == "profiles/default", folder
    overrides = snakemake.cli.parse_config(call.config)
    if (tier := overrides.pop("tier", "mini")) != "mine":
        unknown = set(given.targets) - targets(tier, overrides)
        assert not unknown, f"no targets of tier {tier}: {sorted(unknown)}"


def targets(name: str, overrides: dict) -> set[str]:
    """What can be asked of a tier: its artefacts, weights that it downloads, and all of its metrics."""
    tier = load_tier(name, REPOSITORY / "workflow/config", overrides)
    others = [section for section in ("claims", "pitfalls", "theory") if getattr(tier, section)]
    found = {"all", "artefacts", "results/report.html"}
    found |= {f"results/{table}.{kind}" for table in tier.tables for kind in ("csv", "md", "tex")}
    found |= {f"results/{section}.{kind}" for section in others for kind in ("csv", "md")}
    found |= {f"paper_figures/{figure}.{kind}" for figure in tier.figures for kind in ("pdf", "png", "csv")}
    found |= {str(weights.place) for weights in tier.checkpoints() if weights.download}
    return found | {f"results/{name}/{experiment.metrics}" for experiment in tier.experiments()}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("results/table2.cvs --config tier=cifar10", "no targets of tier cifar10: .*table2.cvs"),
        ("results/fig4_lambda_sweep.pdf", "no targets of tier mini: .*fig4"),
        ("results/table2.csv --config tier=cifar", "tier 'cifar' is not one of: "),
        ("results/table2.csv --config tier=cifar10 preset=tpu", "'tpu' is not one of: "),
        ("results/table2.csv --config 'models={var-s: {pretrainig: {}}}'", "unknown key .*pretrainig"),
    ],
)
def test_what_is_spelled_wrong_is_seen(words: str, told: str) -> None:
    command = Command("a page", ("snakemake", *shlex.split(words)), "parsed", "a test")
    with pytest.raises((AssertionError, CCAError), match=told):
        check_spelling(command)


def parse_pip(words: list[str]) -> None:
    """Files that pip is given are there, and so are the extras."""
    assert words[0] == "install"
    given = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for word in words[1:]:
        if word.startswith(".["):
            assert set(word[2:-1].split(",")) <= set(given["optional-dependencies"])
        elif not word.startswith("-"):
            assert (REPOSITORY / word).exists(), word
