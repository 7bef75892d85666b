"""The paper's tier is planned whole: no GPU, no ImageNet and no network are needed for that."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cca.config import load_tier
from cca.entries import Checkpoint

REPOSITORY = Path(__file__).parents[2]


def test_a_dry_run_plans_the_paper(
    tmp_path: Path, snakemake: Callable[..., subprocess.CompletedProcess]
) -> None:
    run = snakemake(tmp_path, "-n", config=("tier=paper",))
    assert run.returncode == 0, run.stderr[-2000:]
    assert "no images yet: data.root: data/imagenet" in run.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", run.stdout.partition("Job stats:")[2], re.M))
    tier = load_tier("paper", REPOSITORY / "workflow/config")
    experiments = tier.experiments()
    trained = {
        (e.model, e.finetune, e.seed) for e in experiments if e.finetune.startswith(("cca", "dpo", "unl"))
    }
    expected = {
        "download": 20,  # 9 models, 2 tokenizers, 9 that the authors finetuned
        "fetch_inception": 1,
        "import_tokenizer": 2,
        "import_model": 9,
        "import_finetune": 9,
        "finetune": len(trained),
        "sample": tier.shards * len(experiments),
        "evaluate": len(experiments),
        "reference": 1,
    }
    assert {name: int(jobs[name]) for name in expected} == expected
    assert not {"tokenizer", "pretrain", "features"} & set(jobs)
    place = "checkpoints/ChenDRAG/CCA_VAR/main/CCA_VAR_Guidance_Free/VAR_d30_CCA.pth"
    assert place in run.stdout


def test_a_file_that_is_here_is_used_in_its_place() -> None:
    """Without a network: the entry names a path, and nothing is downloaded."""
    given = Checkpoint(path="weights/var_d16.pth")
    assert given.place == Path("weights/var_d16.pth") and given.download is None


@pytest.mark.parametrize(
    ("finetune", "images"), [("released_lambda=50", False), ("cca_lambda=50", True)], ids=["released", "ours"]
)
def test_the_authors_finetuned_weights_need_no_image_and_no_training(
    tmp_path: Path, snakemake: Callable[..., subprocess.CompletedProcess], finetune: str, images: bool
) -> None:
    rows = f"[{{model: var-d16, finetune: {finetune}}}]"
    config = ("tier=paper", f"tables={{table2: {{measured: {rows}}}}}")
    run = snakemake(tmp_path, "-n", "results/table2.md", config=config)
    assert run.returncode == 0, run.stderr[-2000:]
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", run.stdout.partition("Job stats:")[2], re.M))
    assert {"download", "import_tokenizer", "sample", "evaluate", "table"} <= set(jobs)
    wanted = {"data", "encode", "codes", "pairs", "finetune"}
    assert wanted & set(jobs) == (wanted if images else set())
    assert ("import_finetune" in jobs) is not images
