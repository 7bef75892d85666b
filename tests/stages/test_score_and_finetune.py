"""Reference scores and finetuning, on a tiny model."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cca import checkpoints, models, tokenizers
from cca.data import codes as code_data
from cca.errors import CCAError
from cca.files import read_npz, write_npz
from cca.stages import finetune, pairs, score

from ..conftest import MODEL

OPTIMISATION = {"learning_rate": 1e-3}


@pytest.fixture
def files(world, tmp_path: Path) -> dict[str, Path]:
    """Inputs of stage ``finetune``: pairs and scores of the tiny model."""
    inputs = {"base": world.model, "tokenizer": world.tokenizer, "codes": world.codes}
    drawn, scores = tmp_path / "pairs.npz", tmp_path / "scores.npz"
    pairs.run(pairs.PairsSettings(visits=2, mask_rate=0.2), codes=world.codes, out=drawn, seed=0)
    score.run(score.ScoreSettings(batch_size=33), **inputs, pairs=drawn, out=scores, seed=0)
    return inputs | {"pairs": drawn, "scores": scores}


def run(files: dict[str, Path], out: Path, objective: dict, **settings: object) -> list[dict[str, float]]:
    values = {"batch_size": 20, "optimisation": OPTIMISATION, "objective": objective} | settings
    finetune.run(finetune.FinetuneSettings(**values), **files, out=out, seed=0)
    rows = csv.DictReader(out.with_suffix(".log.csv").open())
    return [{key: float(value) for key, value in row.items()} for row in rows]


def test_scores_are_the_base_models_log_likelihoods_of_each_pair(files: dict[str, Path]) -> None:
    codes = code_data.load(files["codes"])
    items = pairs.load(files["pairs"], codes)
    made_of = {name: files[name] for name in ("base", "codes", "pairs")}
    positive, negative = score.load(files["scores"], **made_of, fakes=None)
    model = models.load(files["base"], tokenizers.load(files["tokenizer"]))
    for index in (0, 41, 79):
        tokens = codes.select(items.image[[index]], items.crop[[index]])
        for scores, labels in ((positive, items.label), (negative, items.negative)):
            with torch.no_grad():
                expected = model.log_prob(tokens, torch.tensor([labels[index]])).item()
            assert scores[index] == pytest.approx(expected, rel=1e-5)
    assert positive[items.positive_pair] == pytest.approx(negative[items.positive_pair], rel=1e-5)
    assert not np.allclose(positive[~items.positive_pair], negative[~items.positive_pair])


def test_the_log_of_scores_holds_the_means_of_batches(files: dict[str, Path]) -> None:
    rows = list(csv.DictReader(files["scores"].with_suffix(".log.csv").open()))
    scores = read_npz(files["scores"])["negative"]
    assert [int(row["first_pair"]) for row in rows] == [0, 33, 66]
    assert float(rows[1]["negative"]) == pytest.approx(scores[33:66].mean(), rel=1e-5)


@pytest.mark.parametrize("dropout", [False, True])
def test_scores_do_not_depend_on_the_number_of_shards(
    world, files: dict[str, Path], tmp_path: Path, dropout: bool
) -> None:
    """Not even where the model drops out: 80 pairs in batches of 9, the last of 8."""
    tokenizer, base = tokenizers.load(world.tokenizer), tmp_path / "base.safetensors"
    models.save(base, models.load(world.model, tokenizer), tokenizer, "llamagen", MODEL | {"dropout": 0.3})
    given = files | {"base": base}
    made_of = {name: given[name] for name in ("base", "codes", "pairs")} | {"fakes": None}
    found = {count: shards(given, tmp_path / str(count), count, dropout) for count in (1, 2, 4)}
    whole = score.load(found[1], **made_of, dropout=dropout)
    for folder in found.values():
        assert score.load(folder, **made_of, dropout=dropout) == pytest.approx(whole, rel=1e-6)
    assert score.load(found[1] / "shard_0.npz", **made_of, dropout=dropout).shape == (2, 80)
    plain = score.load(shards(given, tmp_path / "plain", 1, dropout=False), **made_of)
    assert (plain != whole).all() == dropout


def shards(files: dict[str, Path], folder: Path, count: int, dropout: bool = False) -> Path:
    """All shards of the scores in a folder."""
    inputs = {name: path for name, path in files.items() if name != "scores"}
    settings = score.ScoreSettings(batch_size=9, dropout=dropout)
    for shard in range(count):
        score.run(settings, **inputs, out=folder / f"shard_{shard}.npz", seed=0, shard=shard, shards=count)
    return folder


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"dropout": True}, "with dropout, precision auto"),
        ({"precision": "fp32"}, "without dropout, precision fp32"),
    ],
)
def test_scores_that_were_computed_otherwise_are_refused(
    files: dict[str, Path], tmp_path: Path, change: dict, wanted: str
) -> None:
    with pytest.raises(
        CCAError, match=f"scores without dropout, precision auto; finetuning is {wanted}: score"
    ):
        run(files, tmp_path / "model.safetensors", {"name": "dpo"}, **change)


def test_shards_that_are_not_the_whole_are_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(CCAError, match=message):
            run(files | {"scores": folder}, tmp_path / "model.safetensors", {"name": "dpo"})

    folder = shards(files, tmp_path / "three", 3)
    second, kept = folder / "shard_1.npz", (folder / "shard_1.npz").read_bytes()
    second.unlink()
    refused(r"three: pairs 27 to 53 are missing: score those shards again$")
    shutil.copy(folder / "shard_0.npz", second)
    refused(r"three: pairs 0 to 26 are there twice: score those shards again$")
    second.write_bytes(kept)
    (folder / "shard_2.npz").unlink()
    refused(r"three: 54 of 80 pairs: score those shards again$")
    pairs.run(pairs.PairsSettings(), codes=files["codes"], out=tmp_path / "other.npz", seed=0)
    other = shards(files | {"pairs": tmp_path / "other.npz"}, tmp_path / "other", 2)
    shutil.copy(other / "shard_1.npz", folder / "shard_2.npz")
    refused(r"shard_2.npz: not made of the files given")
    folder = folder / "shard_0.npz"
    refused(r"shard_0.npz: 27 of 80 pairs: score those shards again$")
    folder = tmp_path / "none"
    refused(r"none: no such file$")


def test_g_is_zero_at_the_first_step(files: dict[str, Path], tmp_path: Path) -> None:
    first = run(files, tmp_path / "model.safetensors", {"name": "dpo"})[0]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert first["g_pos"] == pytest.approx(0, abs=1e-4) and first["g_neg"] == pytest.approx(0, abs=1e-4)


def test_cca_separates_positives_from_negatives(files: dict[str, Path], tmp_path: Path) -> None:
    objective = {"name": "cca", "beta": 0.02, "lam": 1.0}
    rows = run(files, tmp_path / "model.safetensors", objective, optimisation={"learning_rate": 1e-2})
    assert rows[-1]["g_pos"] - rows[-1]["g_neg"] > 1
    assert rows[-1]["accuracy"] > 0.6
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_what_is_left_of_the_pairs_after_whole_batches_is_dropped(
    files: dict[str, Path], tmp_path: Path
) -> None:
    rows = run(files, tmp_path / "model.safetensors", {"name": "dpo"}, batch_size=30)
    assert len(rows) == 2


def test_the_same_seed_gives_the_same_weights(files: dict[str, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(files, tmp_path / f"{name}.safetensors", {"name": "cca", "lam": 1.0})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert checkpoints.read(tmp_path / "a.safetensors")[1] == checkpoints.read(files["base"])[1]


def test_contrast_counts_true_negatives_only() -> None:
    g = torch.tensor([[1.0, 2.0, 100.0], [3.0, 0.0, 100.0]])
    logged = finetune.contrast(g, torch.tensor([False, False, True]))
    means = {name: values.nanmean().item() for name, values in logged.items()}
    assert means == {"g_pos": 1.5, "g_neg": 1.5, "accuracy": 0.5}


def test_micro_batches_change_memory_not_results(files: dict[str, Path], tmp_path: Path) -> None:
    objective = {"name": "cca", "lam": 1.0}
    whole = run(files, tmp_path / "whole.safetensors", objective)
    pieces = run(files, tmp_path / "pieces.safetensors", objective, micro_batch=7)
    for row, again in zip(whole, pieces, strict=True):
        assert again == pytest.approx(row, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("other", ["seed", "mask rate", "model"])
def test_scores_of_other_pairs_or_of_another_model_are_refused(
    world, files: dict[str, Path], tmp_path: Path, other: str
) -> None:
    given = dict(files)
    if other == "model":
        tokenizer = tokenizers.load(world.tokenizer)
        model = models.load(world.model, tokenizer)
        with torch.no_grad():
            model.output.weight[0, 0] += 1
        given["base"] = tmp_path / "other.safetensors"
        architecture = checkpoints.metadata(world.model)["architecture"]
        models.save(given["base"], model, tokenizer, "llamagen", architecture)
    else:
        settings = pairs.PairsSettings(visits=2, mask_rate=0.4 if other == "mask rate" else 0.2)
        given["pairs"] = tmp_path / "other.npz"
        pairs.run(settings, codes=world.codes, out=given["pairs"], seed=int(other == "seed"))
    with pytest.raises(CCAError, match=r"scores.npz: not made of the files given \(.*other") as error:
        run(given, tmp_path / "model.safetensors", {"name": "dpo"})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model.safetensors").exists()


def test_scores_of_the_same_contents_elsewhere_are_taken(files: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copy(files["pairs"], tmp_path / "copy.npz"))
    run(files | {"pairs": copy}, tmp_path / "model.safetensors", {"name": "dpo"})


def test_a_batch_larger_than_the_epoch_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CCAError, match="80 pairs are fewer than a batch of 81"):
        run(files, tmp_path / "model.safetensors", {"name": "dpo"}, batch_size=81)


def test_a_nan_stops_finetuning_and_leaves_no_checkpoint(files: dict[str, Path], tmp_path: Path) -> None:
    scores = read_npz(files["scores"])
    scores["negative"][25] = np.nan
    write_npz(tmp_path / "nan.npz", **scores)
    with pytest.raises(CCAError, match="finetune: the loss is nan at step 1"):
        run(files | {"scores": tmp_path / "nan.npz"}, tmp_path / "model.safetensors", {"name": "dpo"})
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "model.log.csv").exists()
