"""docs/objective.md: its objective and its tier entry work as they stand there."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cca import objectives
from cca.config import load_tier
from cca.files import parse_yaml
from cca.stages import finetune, pairs, score

from ..smoke import command
from .commands import REPOSITORY, commands

PAGE = REPOSITORY / "docs/objective.md"


def block(mark: str) -> str:
    """The block under a comment."""
    return re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


@pytest.fixture
def hinge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The page's file is where objectives are looked for; returns the page's tier entry."""
    (tmp_path / "hinge.py").write_text(block("objective: hinge"))
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "cca.objectives.hinge", raising=False)
    return parse_yaml(block("tier: hinge"), str(PAGE))


def test_the_loss_is_what_its_docstring_says(hinge: dict) -> None:
    loss = objectives.bind(hinge["finetunes"]["hinge"]["objective"])
    g_pos, g_neg = torch.tensor([3.0, 9.0, 2.0]), torch.tensor([1.0, 1.0, 2.0])
    assert loss(g_pos, g_neg, torch.tensor([False, False, True])).tolist() == [3, 0, -2]


def test_it_trains_by_the_tiers_entry(hinge: dict, world, tmp_path: Path) -> None:
    tier = load_tier("smoke", REPOSITORY / "workflow/config", hinge)
    assert "hinge" in {experiment.finetune for experiment in tier.tables["table3"].experiments()}
    files = {"base": world.model, "tokenizer": world.tokenizer, "codes": world.codes}
    files |= {name: tmp_path / f"{name}.npz" for name in ("pairs", "scores")}
    drawn = tier.pairs("llamagen-s", 0.1).model_copy(update={"visits": 15})
    pairs.run(drawn, codes=world.codes, out=files["pairs"], seed=0)
    given = {name: files[name] for name in ("base", "tokenizer", "codes", "pairs")}
    score.run(tier.score("llamagen-s"), **given, out=files["scores"], seed=0)
    settings = tier.finetune("llamagen-s", "hinge").model_dump(mode="json")
    settings |= {"batch_size": 40, "optimisation": {"learning_rate": 1e-2}}
    out = tmp_path / "model.safetensors"
    finetune.run(finetune.FinetuneSettings(**settings), **files, out=out, seed=0)
    rows = list(csv.DictReader(out.with_suffix(".log.csv").open()))
    first, last = (float(row["g_pos"]) - float(row["g_neg"]) for row in (rows[0], rows[-1]))
    assert abs(first) < 1e-4 and last > 0.5


def test_it_adds_its_own_jobs_to_the_workflow_and_no_other(finished: Path, tmp_path: Path) -> None:
    """Snakemake imports the package beside its Snakefile, so all of it is copied."""
    for name in ("cca", "workflow", "profiles"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "Snakefile", tmp_path)
    (tmp_path / "cca/objectives/hinge.py").write_text(block("objective: hinge"))
    (tmp_path / "hinge.yaml").write_text(block("tier: hinge"))
    (shown,) = [c.words for c in commands(PAGE) if c.words[0] == "snakemake"]
    words = [str(tmp_path / word) if word == "hinge.yaml" else word for word in shown[1:]]
    run = subprocess.run(
        command(finished, *words, snakefile=tmp_path / "Snakefile"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    jobs = dict(re.findall(r"^(\w+)\s+(\d+)$", run.stdout + run.stderr, re.MULTILINE))
    assert jobs.items() >= {"finetune": "1", "sample": "1", "evaluate": "1", "table": "1"}.items()
    assert not jobs.keys() & {"pretrain", "pairs", "score", "tokenizer", "codes"}
