"""Samples of the base model as negatives: what is drawn, scored and contrasted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cca import models, tokenizers
from cca.errors import CCAError
from cca.files import read_npz
from cca.stages import fakes, finetune, pairs, score

CPU = torch.device("cpu")


@pytest.fixture
def files(world, tmp_path: Path) -> dict[str, Path]:
    """Inputs of stage ``score`` with samples as negatives."""
    inputs = {"base": world.model, "tokenizer": world.tokenizer, "codes": world.codes}
    inputs["pairs"] = tmp_path / "pairs.npz"
    pairs.run(
        pairs.PairsSettings(visits=2, mask_rate=0.2), codes=world.codes, out=tmp_path / "pairs.npz", seed=0
    )
    fakes.run(fakes.FakesSettings(batch_size=32), **inputs, out=tmp_path / "fakes.npz", seed=0)
    return inputs | {"fakes": tmp_path / "fakes.npz"}


def epoch(files: dict[str, Path]) -> pairs.Epoch:
    made_of = {name: files[name] for name in ("base", "codes", "pairs")}
    return pairs.load_epoch(**made_of, fakes=files["fakes"])


def test_both_sides_of_a_pair_have_its_label_and_the_second_one_is_the_sample(files: dict[str, Path]) -> None:
    items = epoch(files)
    index = np.array([3, 50, 79])
    sides = items.sides(index, CPU)
    assert sides.labels.tolist() == [items.pairs.label[index].tolist()] * 2
    assert sides.tokens[1].tolist() == read_npz(files["fakes"])["codes"][index].tolist()
    assert not sides.positive_pair.any()
    plain = epoch(files | {"fakes": None}).sides(index, CPU)
    assert (plain.tokens[1] == plain.tokens[0]).all() and (plain.tokens[0] == sides.tokens[0]).all()
    assert plain.labels[1].tolist() == items.pairs.negative[index].tolist()


def test_samples_are_the_models_and_do_not_depend_on_the_batch_size(
    files: dict[str, Path], tmp_path: Path
) -> None:
    drawn = read_npz(files["fakes"])["codes"]
    inputs = {name: path for name, path in files.items() if name != "fakes"}
    fakes.run(fakes.FakesSettings(batch_size=7), **inputs, out=tmp_path / "again.npz", seed=0)
    changed = (read_npz(tmp_path / "again.npz")["codes"] != drawn).any(axis=1)
    assert changed.sum() <= 1  # another order of sums, see tests/stages/test_sampling.py
    model = models.load(files["base"], tokenizers.load(files["tokenizer"]))
    labels = torch.from_numpy(epoch(files).pairs.label)
    with torch.no_grad():
        own = model.log_prob(torch.from_numpy(drawn.astype(np.int64)), labels).mean()
        random = model.log_prob(torch.randint(12, drawn.shape), labels).mean()
    assert own > random + 3


def test_scores_are_log_likelihoods_of_both_sides(files: dict[str, Path], tmp_path: Path) -> None:
    score.run(score.ScoreSettings(batch_size=33), **files, out=tmp_path / "scores.npz", seed=0)
    model = models.load(files["base"], tokenizers.load(files["tokenizer"]))
    sides = epoch(files).sides(np.arange(80), CPU)
    made_of = {name: path for name, path in files.items() if name != "tokenizer"}
    both = score.load(tmp_path / "scores.npz", **made_of)
    for scores, tokens, labels in zip(both, sides.tokens, sides.labels, strict=True):
        with torch.no_grad():
            assert scores == pytest.approx(model.log_prob(tokens, labels).numpy(), rel=1e-5)


def test_ddo_learns_to_tell_images_from_samples(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "scores.npz"
    score.run(score.ScoreSettings(), **files, out=out, seed=0)
    settings = finetune.FinetuneSettings(
        batch_size=20, optimisation={"learning_rate": 1e-2}, objective={"name": "ddo"}
    )
    finetune.run(settings, **files, scores=out, out=tmp_path / "model.safetensors", seed=0)
    log = np.genfromtxt(tmp_path / "model.log.csv", delimiter=",", names=True)
    assert log["loss"][0] == pytest.approx(2 * np.log(2), abs=1e-4)
    assert log["g_pos"][-1] - log["g_neg"][-1] > 1
    assert log["accuracy"][-1] > 0.6


def test_masked_pairs_are_no_part_of_what_ddo_logs(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out, contrast = [], finetune.contrast
    monkeypatch.setattr(finetune, "contrast", lambda g, left: left_out.append(left) or contrast(g, left))
    score.run(score.ScoreSettings(), **files, out=tmp_path / "scores.npz", seed=0)
    settings = finetune.FinetuneSettings(
        batch_size=20, optimisation={"learning_rate": 1e-2}, objective={"name": "ddo"}
    )
    out = tmp_path / "model.safetensors"
    finetune.run(settings, **files, scores=tmp_path / "scores.npz", out=out, seed=0)
    masked = epoch(files).pairs.masked
    assert torch.cat(left_out).tolist() == masked.tolist() and masked.any()


@pytest.mark.parametrize(("name", "needs"), [("ddo", "needs"), ("dpo", "takes no")])
def test_an_objective_without_its_kind_of_negatives_is_refused(
    files: dict[str, Path], tmp_path: Path, name: str, needs: str
) -> None:
    settings = finetune.FinetuneSettings(
        batch_size=20, optimisation={"learning_rate": 1e-2}, objective={"name": name}
    )
    given = files | {"fakes": files["fakes"] if name == "dpo" else None}
    with pytest.raises(CCAError, match=f"objective {name} {needs} samples of stage 'fakes'"):
        finetune.run(settings, **given, scores=tmp_path / "x.npz", out=tmp_path / "m.safetensors", seed=0)


def test_a_model_of_other_classes_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    """An imported one has those of its authors, whatever the images are."""
    tokenizer = tokenizers.load(files["tokenizer"])
    sizes = {"dim": 16, "layers": 1, "heads": 2}
    other = tmp_path / "other.safetensors"
    models.save(
        other, models.build("llamagen", sizes, tokenizer, num_classes=4), tokenizer, "llamagen", sizes
    )
    with pytest.raises(CCAError, match=r"other.safetensors: a model of 4 classes; .*codes.npz: codes of 3"):
        epoch(files | {"base": other, "fakes": None})


def test_samples_for_other_pairs_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    settings = pairs.PairsSettings(visits=2, mask_rate=0.2)
    pairs.run(settings, codes=files["codes"], out=tmp_path / "other.npz", seed=1)
    with pytest.raises(CCAError, match=r"fakes.npz: not made of the files given \(.*other.npz\)") as error:
        epoch(files | {"pairs": tmp_path / "other.npz"})
    assert "\n" not in str(error.value)


def test_scores_of_samples_and_of_labels_are_not_mistaken(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "scores.npz"
    made_of = {name: path for name, path in files.items() if name != "tokenizer"}
    score.run(score.ScoreSettings(), **files, out=out, seed=0)
    with pytest.raises(CCAError, match=r"scores.npz: not made of the files given"):
        score.load(out, **made_of | {"fakes": None})
