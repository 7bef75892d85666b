"""Pretraining learns the conditional distribution, drops labels, and repeats."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from cca import checkpoints, models, tokenizers
from cca.data import codes as code_data
from cca.stages import pretrain
from cca.stages.pretrain import PretrainSettings

ARCHITECTURE = {"dim": 16, "layers": 1, "heads": 2, "multiple_of": 16}


def train(world, codes: Path, out: Path, **values: object) -> None:
    settings = {
        "family": "llamagen",
        "architecture": ARCHITECTURE,
        "steps": 200,
        "batch_size": 20,
        "label_dropout": 0.2,
        "optimisation": {"learning_rate": 1e-2, "schedule": "cosine"},
    }
    pretrain.run(PretrainSettings(**settings | values), tokenizer=world.tokenizer, codes=codes, out=out)


def test_conditional_and_unconditional_likelihoods_are_learnt(
    world, two_images: Path, tmp_path: Path
) -> None:
    train(world, two_images, tmp_path / "model.safetensors")
    model = models.load(tmp_path / "model.safetensors", tokenizers.load(world.tokenizer))
    codes = code_data.load(two_images).select(np.array([0, 1]), np.array([0, 0]))
    with torch.no_grad():
        own = model.log_prob(codes, torch.tensor([0, 1]))
        other = model.log_prob(codes, torch.tensor([1, 0]))
        unconditional = model.log_prob(codes, torch.tensor([3, 3]))
    assert (own > -0.3).all()
    assert (other < own - 3).all()
    # The unconditional label saw both images equally often: log 1/2 each.
    assert unconditional.tolist() == pytest.approx([np.log(0.5)] * 2, abs=0.4)


def test_without_label_dropout_the_unconditional_row_stays_as_it_was(
    world, two_images: Path, tmp_path: Path
) -> None:
    rows = {}
    for steps in (1, 20):
        out = tmp_path / f"{steps}.safetensors"
        train(
            world,
            two_images,
            out,
            steps=steps,
            label_dropout=0.0,
            optimisation={"learning_rate": 1e-2, "weight_decay": 0},
        )
        rows[steps] = checkpoints.read(out)[0]["cls_embedding.embedding_table.weight"]
    assert (rows[1][3] == rows[20][3]).all()
    assert (rows[1][0] != rows[20][0]).any()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(world, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(world, world.codes, tmp_path / f"{name}.safetensors", steps=3, seed=seed)
    a, b, c = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b and a != c


def test_the_logged_loss_is_in_nats_a_token(world, tmp_path: Path) -> None:
    train(world, world.codes, tmp_path / "model.safetensors", steps=1)
    row = next(csv.DictReader((tmp_path / "model.log.csv").open()))
    assert float(row["loss"]) == pytest.approx(np.log(12), rel=1e-4)  # the output layer starts at zero
