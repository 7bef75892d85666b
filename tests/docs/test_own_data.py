"""docs/data.md: a tier file changed as the page says is accepted and planned."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cca.cli import app
from cca.files import parse_yaml

from .commands import REPOSITORY, Snakemake, commands

PAGE = REPOSITORY / "docs/data.md"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Snakefile and tiers in a folder, with ``mine`` made of mini as the page says."""
    for name in ("workflow", "profiles"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copy(REPOSITORY / "Snakefile", tmp_path)
    for name in ("apple", "boat"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(20):
            Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / f"pictures/{name}/{index}.png")
    said = re.search(r"```yaml\n\s*(data: .*)\n\s*```", PAGE.read_text())[1]
    tier = yaml.safe_load((tmp_path / "workflow/config/mini.yaml").read_text())
    tier |= parse_yaml(said.replace("/path/to/folder", str(tmp_path / "pictures")), str(PAGE))
    tier["benchmark"] = "mine"
    tier["classifier"]["minimum_accuracy"] = 0.1
    for entry in tier["tokenizers"].values():
        entry["architecture"] |= {name: tier["data"][name] for name in ("image_size", "channels")}
        if sizes := entry["architecture"].get("patch_sizes"):
            entry["architecture"]["patch_sizes"] = [*sizes[:-1], tier["data"]["image_size"] // 4]
    (tmp_path / "workflow/config/mine.yaml").write_text(yaml.safe_dump(tier, sort_keys=False))
    return tmp_path


def test_a_tier_of_ones_own_is_accepted_and_planned(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config, plan = [command for command in commands(PAGE) if command.kind == "dry"]
    monkeypatch.chdir(place)
    app(list(config.words[1:]), standalone_mode=False, obj={})
    assert yaml.safe_load(capsys.readouterr().out)["benchmark"] == "mine"
    call = Snakemake.of(plan)
    command = [sys.executable, "-m", "snakemake", "-n", *call.targets, "--config", *call.config]
    run = subprocess.run(command, capture_output=True, text=True, cwd=place)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "rule publish_table" in run.stdout + run.stderr
