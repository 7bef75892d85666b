"""docs/objective.md: its objective and its tier entry work as they stand there."""

import csv
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from cca import objectives
from cca.config import load_tier
from cca.files import parse_yaml
from cca.stages import finetune, pairs, score

from .commands import REPOSITORY, block, planned

PAGE = REPOSITORY / "docs/objective.md"


@pytest.fixture
def hinge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The page's file is where objectives are looked for; returns the page's tier entry."""
    (tmp_path / "hinge.py").write_text(block(PAGE, "objective: hinge"))
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "cca.objectives.hinge", raising=False)
    return parse_yaml(block(PAGE, "tier: hinge"), str(PAGE))


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
    files = {"cca/objectives/hinge.py": block(PAGE, "objective: hinge")}
    files |= {"hinge.yaml": block(PAGE, "tier: hinge")}
    jobs = Counter(job.rule for job in planned(PAGE, files, finished, tmp_path))
    made = {"finetune": 1, "sample": 1, "evaluate": 1, "table": 1, "publish_table": 1}
    assert jobs == made
