"""A folder of images as source: what is in it decides whether it is read again."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cca.files import read_json

IMAGES = "results/smoke/data/images.npz"
SOURCE = ("data={source: folder, root: pictures}",)
Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of two grey images beside the results."""
    for name in ("apple", "boat"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "pictures" / name / f"{index}.png")
    return tmp_path / "pictures"


def test_changed_images_are_read_again_and_unchanged_ones_not(
    tmp_path: Path, pictures: Path, snakemake: Run
) -> None:
    run = snakemake(tmp_path, IMAGES, config=SOURCE)
    assert run.returncode == 0, run.stderr[-2000:]
    first = read_json(tmp_path / "results/smoke/data/images.provenance.json")["measured"]
    assert (first["train"], first["heldout"], len(first["fingerprint"])) == (2, 2, 64)
    run = snakemake(tmp_path, IMAGES, config=SOURCE)
    assert run.returncode == 0 and "Nothing to be done" in run.stdout + run.stderr
    Image.fromarray(np.ones((28, 28), np.uint8)).save(pictures / "boat" / "1.png")
    run = snakemake(tmp_path, IMAGES, config=SOURCE)
    assert run.returncode == 0, run.stderr[-2000:]
    again = read_json(tmp_path / "results/smoke/data/images.provenance.json")["measured"]
    assert again["fingerprint"] != first["fingerprint"]


def test_a_missing_folder_is_one_line_and_a_dry_run_plans_without_it(tmp_path: Path, snakemake: Run) -> None:
    problem = "data.root: pictures is not a folder; name one whose sub-folders are the classes"
    run = snakemake(tmp_path, IMAGES, config=SOURCE)
    assert run.returncode == 1 and not (tmp_path / "results/smoke/data").exists()
    assert f"error: {problem}" in run.stderr.splitlines() and "Traceback" not in run.stderr
    run = snakemake(tmp_path, "-n", IMAGES, config=SOURCE)
    assert run.returncode == 0 and f"no images yet: {problem}" in run.stderr.splitlines()
    run = snakemake(tmp_path, "results/theory.csv", config=SOURCE)  # which is made of none
    assert run.returncode == 0 and (tmp_path / "results/theory.csv").is_file(), run.stderr[-2000:]
