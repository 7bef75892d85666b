"""docs/model.md: its model and its tier entry work as they stand there."""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cca import models, tokenizers
from cca.config import Tier, load_tier
from cca.data import codes as code_data
from cca.files import parse_yaml, read_npz
from cca.guidance import Guidance, guide
from cca.models import ARModel
from cca.rng import sample_uniforms
from cca.stages import finetune, pairs, pretrain, sampling, score

from .commands import REPOSITORY, block, planned

PAGE = REPOSITORY / "docs/model.md"


@pytest.fixture
def tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tier:
    """The smoke tier with the page's entry; the page's file is where families are looked for."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/bigram.py").write_text(block(PAGE, "model: bigram"))
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path / "plugins")])
    monkeypatch.delitem(sys.modules, "cca.models.bigram", raising=False)
    entry = parse_yaml(block(PAGE, "tier: bigram"), str(PAGE))
    return load_tier("smoke", REPOSITORY / "workflow/config", entry)


@pytest.fixture
def model(tier: Tier, world) -> ARModel:
    """The page's, with weights that make everything depend on everything."""
    architecture = tier.models["bigram"].making.architecture
    model = models.build("bigram", architecture, tokenizers.load(world.tokenizer), num_classes=3)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3)
    return model.eval()


def test_its_entry_goes_on_top_of_the_default_tier_too(tier: Tier) -> None:
    entry = parse_yaml(block(PAGE, "tier: bigram"), str(PAGE))
    assert load_tier("mini", REPOSITORY / "workflow/config", entry).models["bigram"] == tier.models["bigram"]


def column(name: str, model: Path) -> np.ndarray:
    """Of the log of a training."""
    rows = csv.DictReader(model.with_suffix(".log.csv").open())
    return np.array([float(row[name]) for row in rows])


def test_it_is_trained_scored_finetuned_and_sampled_by_the_tiers_entry(
    tier: Tier, world, two_images: Path, tmp_path: Path
) -> None:
    """Few steps, on codes that are one image of label 0 and another of label 1."""
    shown = {(found.model, found.finetune) for found in tier.tables["table3"].experiments()}
    assert shown == {("bigram", "base"), ("bigram", "cca_lambda=1")}
    common = {"tokenizer": world.tokenizer, "codes": two_images}
    base, tuned = (tmp_path / f"{name}.safetensors" for name in ("base", "tuned"))
    settings = tier.models["bigram"].making.model_copy(update={"steps": 60, "batch_size": 40})
    pretrain.run(settings, **common, out=base)
    assert column("loss", base)[0] > 2 and column("loss", base)[-5:].max() < 0.2

    common |= {"base": base, "pairs": tmp_path / "pairs.npz"}
    settings = tier.pairs("bigram", tier.mask_rate("bigram", "cca_lambda=1"))
    pairs.run(settings.model_copy(update={"visits": 15}), codes=two_images, out=common["pairs"], seed=0)
    scores = tmp_path / "scores.npz"
    score.run(tier.score("bigram"), **common, out=scores, seed=0)
    settings = tier.finetune("bigram", "cca_lambda=1").model_copy(update={"batch_size": 40})
    finetune.run(settings, **common, scores=scores, out=tuned, seed=0)
    loss = column("loss", tuned)
    assert loss[0] == pytest.approx(2 * np.log(2), abs=1e-5) and loss[-5:].max() < loss[0] - 0.03
    assert abs(column("g_pos", tuned)[-1]) < 1 and column("g_neg", tuned)[-1] < -10

    settings = tier.sampling("bigram", 0).model_copy(update={"num_samples": 60, "batch_size": 25})
    out = tmp_path / "samples.npz"
    sampling.run(settings, model=tuned, tokenizer=world.tokenizer, out=out, seed=0)
    codes = code_data.load(two_images).select(np.array([0, 1]), np.array([0, 0]))
    images = sampling.to_uint8(tokenizers.load(world.tokenizer).decode(codes), settings.postprocessing)
    drawn = read_npz(out)
    for label, image in enumerate(images):
        own = drawn["arr_0"][drawn["labels"] == label]
        assert len(own) == 20
        apart = np.abs(own.astype(int) - image).max(axis=(1, 2, 3))  # 1 where a batch of 25 rounds otherwise
        assert (apart <= 1).mean() > 0.8


def likelihoods(model: ARModel, codes: Tensor, labels: Tensor) -> Tensor:
    """log p of every code in every place, after the codes before it, teacher-forced: (B, T, V)."""
    places = []
    for place in range(model.num_tokens):
        changed = codes.repeat(model.vocab_size, 1, 1)  # (V, B, T)
        changed[:, :, place] = torch.arange(model.vocab_size)[:, None]
        with torch.no_grad():
            found = model.token_log_probs(changed.flatten(0, 1), labels.repeat(model.vocab_size))
        places.append(found[:, place].double().view(model.vocab_size, -1).T)
    return torch.stack(places, dim=1)


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_codes_are_drawn_with_the_probabilities_that_it_is_trained_by(model: ARModel, scale: float) -> None:
    """Each is that at which their sum passes the uniform number; of 16,000 none was seen beside it."""
    labels, uniforms = torch.arange(60) % 3, torch.from_numpy(sample_uniforms(0, np.arange(60), 16))
    codes = model.sample(labels, Guidance(scale=scale), uniforms)
    both = (likelihoods(model, codes, given) for given in (labels, torch.full_like(labels, 3)))
    probabilities = guide(*both, scale).softmax(dim=-1)
    assert probabilities.std(dim=(0, 1)).max() > 0.1  # they depend on label and place
    upper = probabilities.cumsum(dim=-1)
    own = upper.gather(2, codes.unsqueeze(2)).squeeze(2)
    lower = F.pad(upper, (1, 0)).gather(2, codes.unsqueeze(2)).squeeze(2)
    assert ((lower - 1e-6 < uniforms) & (uniforms < own + 1e-6)).all()


def test_without_guidance_no_unconditional_half_is_computed(model: ARModel) -> None:
    """Of a ramp neither is it in the first step, whose scale is 0."""
    labels, uniforms, seen = torch.arange(3), torch.rand(3, 16), []
    model.labels.register_forward_pre_hook(lambda module, given: seen.append(given[0].tolist()))
    own, unconditional = [0, 1, 2], [3, 3, 3]
    passes = {
        Guidance(): [own] * 16,
        Guidance(scale=1): [own, unconditional] * 16,
        Guidance(scale=1, schedule="linear"): [own] + [own, unconditional] * 15,
    }
    for guidance, wanted in passes.items():
        seen.clear()
        model.sample(labels, guidance, uniforms)
        assert seen == wanted


def test_it_adds_its_own_jobs_to_the_workflow_and_no_other(finished: Path, tmp_path: Path) -> None:
    files = {"cca/models/bigram.py": block(PAGE, "model: bigram"), "bigram.yaml": block(PAGE, "tier: bigram")}
    jobs = planned(PAGE, files, finished, tmp_path)
    made = {"pretrain": 1, "pairs": 1, "score": 1, "finetune": 1, "sample": 2, "evaluate": 2}
    assert Counter(job.rule for job in jobs) == made | {"table": 1, "publish_table": 1}
    assert {job["model"] for job in jobs if job.rule in made} == {"bigram"}
