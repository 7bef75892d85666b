"""A model is trained by as many processes as a tier's resources ask for."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path


def test_trainings_are_told_of_how_many_processes_they_are(
    tmp_path: Path, snakemake: Callable[..., subprocess.CompletedProcess]
) -> None:
    target = "results/smoke/llamagen-s/sft/seed=0/model.safetensors"
    asked = "resources={pretrain: {gpus: 4, nodes: 2}, finetune: {gpus: 2}}"
    run = snakemake(tmp_path, "-n", "-p", target, config=(asked,))
    assert run.returncode == 0, run.stderr[-2000:]
    told = re.findall(
        r"cca --threads \d+ --device gpu:\d+ (\w+) .* --processes (\d+) --nodes (\d+)", run.stdout
    )
    assert sorted(told) == [("finetune", "2", "1"), ("pretrain", "8", "2")]
