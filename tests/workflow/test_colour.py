"""Table 2 of a made-up folder of colour images, with models of both families: the DAG in three channels."""

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from cca import tokenizers
from cca.files import read_npz
from cca.rng import generator

SIZE = 32
SIZES = {"image_size": SIZE, "channels": 3}
TRAINING = {"steps": 10, "batch_size": 16, "optimisation": {"learning_rate": 3e-3}}
TIER = {
    "benchmark": "pictures",
    "data": {**SIZES, "source": "folder", "root": "pictures", "limit_per_class": None},
    "tokenizers": {
        "vq": {"architecture": {**SIZES, "channel_multipliers": [1, 1, 1]}},
        "multiscale": {
            "kind": "multiscale",
            "architecture": {
                **SIZES,
                "base_channels": 8,
                "channel_multipliers": [1, 1, 1],
                "blocks": 1,
                "norm_groups": 4,
                "z_channels": 8,
                "codebook_size": 32,
                "patch_sizes": [1, 2, 4, 8],
            },
            "training": {**TRAINING, "perceptual": 1},
            "codes": {"crops": 2, "augmentation": {"flip": True}},
        },
    },
    "models": {
        "llamagen-s": {"sampling": {"num_samples": 40, "batch_size": 20}},
        "var-s": {
            "title": "VAR-S",
            "tokenizer": "multiscale",
            "pretraining": {
                "family": "var",
                "architecture": {"depth": 2, "dim": 32, "heads": 2},
                **TRAINING,
            },
            "pairs": {"visits": 1, "images": 40},
            "finetuning": {"batch_size": 20, "optimisation": {"learning_rate": 3e-4}},
            "sampling": {"num_samples": 40, "batch_size": 20, "guidance": {"schedule": "linear"}},
        },
    },
    "tables": {
        "table2": {
            "measured": [
                {"model": "llamagen-s"},
                {"model": "var-s", "cfg_scale": 1},
                {"model": "var-s", "finetune": "cca_lambda=1"},
            ]
        }
    },
}


def draw_pictures(folder: Path) -> None:
    """Three classes of 20 images, each class with a hue of its own, noisy."""
    rng = generator("pictures")
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 80, size=(SIZE, SIZE, 3))
            pixels[..., channel] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")


def test_table2_of_colour_images_for_both_families(
    tmp_path: Path, snakemake: Callable[..., subprocess.CompletedProcess]
) -> None:
    draw_pictures(tmp_path / "pictures")
    (tmp_path / "tier.yaml").write_text(yaml.safe_dump(TIER))
    run = snakemake(tmp_path, "results/table2.csv", "--configfile", "tier.yaml")
    assert run.returncode == 0, run.stderr[-3000:]
    rows = [row for row in csv.DictReader((tmp_path / "results/table2.csv").open()) if row["fid"]]
    measured = [row for row in rows if row["source"] == "measured"]
    assert {row["benchmark"] for row in measured} == {"pictures"}
    assert [row["model"].split(" ")[0] for row in measured] == ["LlamaGen-S", "VAR-S", "VAR-S", "real"]
    assert [row["cfg_fid"] != "" for row in measured] == [False, True, False, False]
    for name in ("vq", "multiscale"):
        coder = tokenizers.load(tmp_path / f"results/smoke/tokenizers/{name}/tokenizer.safetensors")
        assert (coder.channels, coder.image_size) == (3, SIZE)
    shards = sorted((tmp_path / "results/smoke").glob("*-s/**/samples/*/shard_0.npz"))
    assert len(shards) == 4
    for shard in shards:
        images = read_npz(shard, "arr_0")["arr_0"].astype(int)
        assert images.shape == (40, SIZE, SIZE, 3) and np.ptp(images, axis=-1).max() > 0
