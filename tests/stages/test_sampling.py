"""Shards, labels, post-processing."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cca import models, tokenizers
from cca.errors import CCAError
from cca.files import read_npz
from cca.guidance import Guidance
from cca.models import ARModel, llamagen
from cca.rng import sample_uniforms
from cca.stages import sampling
from cca.stages.sampling import PostProcessing, SamplingSettings
from cca.tokenizers import vq


def draw(world, folder: Path, shards: int, scale: float = 0.0, **settings: object) -> dict[str, np.ndarray]:
    """All samples of an experiment, made in ``shards`` pieces."""
    values = {"num_samples": 47, "batch_size": 6, "guidance": Guidance(scale=scale)} | settings
    parts = []
    for shard in range(shards):
        out = folder / f"shard_{shard}.npz"
        files = {"model": world.model, "tokenizer": world.tokenizer}
        sampling.run(SamplingSettings(**values), **files, out=out, seed=1, shard=shard, shards=shards)
        parts.append(read_npz(out))
    return {name: np.concatenate([part[name] for part in parts]) for name in ("arr_0", "labels")}


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_samples_are_the_same_bytes_for_any_number_of_shards(world, tmp_path: Path, scale: float) -> None:
    whole = draw(world, tmp_path, 1, scale)
    assert whole["arr_0"].shape == (47, 8, 8, 3) and whole["arr_0"].dtype == np.uint8
    for shards in (2, 5):
        parts = draw(world, tmp_path, shards, scale)
        assert (parts["arr_0"] == whole["arr_0"]).all() and (parts["labels"] == whole["labels"]).all()


def cumulative(model: ARModel, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """P(code_t <= v | earlier codes, label), teacher-forced, one v at a time: (B, T, V)."""
    columns = []
    for position in range(model.num_tokens):
        changed = codes.repeat(model.vocab_size, 1, 1)  # (V, B, T)
        changed[:, :, position] = torch.arange(model.vocab_size)[:, None]
        with torch.no_grad():
            log_probs = model.token_log_probs(changed.flatten(0, 1), labels.repeat(model.vocab_size))
        columns.append(log_probs[:, position].double().exp().view(model.vocab_size, -1).cumsum(dim=0).T)
    return torch.stack(columns, dim=1)


def test_tokens_are_those_of_the_cdf_in_batches_of_any_size(world) -> None:
    # Sums are rounded in another order, so a uniform number may fall on the other side of a boundary
    # of the CDF: expected for about 47 * 16 * 12 * 1e-7 tokens, that is none.
    model = models.load(world.model, tokenizers.load(world.tokenizer))
    labels, uniforms = torch.arange(47) % 3, torch.from_numpy(sample_uniforms(1, np.arange(47), 16))
    drawn = {}
    for size in (6, 9):
        batches = zip(labels.split(size), uniforms.split(size), strict=True)
        codes = drawn[size] = torch.cat([model.sample(some, Guidance(), row) for some, row in batches])
        upper = cumulative(model, codes, labels)
        own = upper.gather(2, codes.unsqueeze(2)).squeeze(2)
        lower = F.pad(upper, (1, 0)).gather(2, codes.unsqueeze(2)).squeeze(2)
        assert ((lower - 1e-6 < uniforms) & (uniforms < own + 1e-6)).all()
    assert (drawn[6] != drawn[9]).any(dim=1).sum() <= 1


def test_methods_share_labels_and_random_numbers(world, tmp_path: Path) -> None:
    plain, barely = draw(world, tmp_path, 1), draw(world, tmp_path, 1, scale=1e-6)
    assert (plain["labels"] == barely["labels"]).all()
    assert (plain["arr_0"] == barely["arr_0"]).all(axis=(1, 2, 3)).sum() >= 46
    strong = draw(world, tmp_path, 1, scale=5.0)
    assert (plain["arr_0"] != strong["arr_0"]).any()


def test_every_batch_is_in_one_shard() -> None:
    ranges = [sampling.shard_range(47, 6, shard, 3) for shard in range(3)]
    assert ranges[0][0] == 0 and ranges[-1][1] == 47
    assert all(last == first for (_, last), (first, _) in itertools.pairwise(ranges))
    assert all(first % 6 == 0 for first, _ in ranges)


@pytest.mark.parametrize(
    ("shard", "shards", "message"),
    [(2, 2, "shard 2 is out of range 0..1"), (0, 9, "9 shards of 8 batches")],
)
def test_shards_that_cannot_be(shard: int, shards: int, message: str) -> None:
    with pytest.raises(CCAError, match=message):
        sampling.shard_range(47, 6, shard, shards)


def test_balanced_labels_are_a_permutation_and_random_ones_are_not() -> None:
    balanced = sampling.sample_labels(1000, 10, "balanced", 0)
    assert (np.bincount(balanced) == 100).all()
    assert (np.diff(balanced) != 0).mean() > 0.8
    counts = np.bincount(sampling.sample_labels(1000, 10, "random", 0), minlength=10)
    assert counts.sum() == 1000 and 60 < counts.min() < 100


def test_rounding_as_each_family_does_it() -> None:
    x = torch.tensor([-1.2, -1.0, 0.0, 0.003, 1.0, 1.2]).view(6, 1, 1, 1)
    rounded = sampling.to_uint8(x, PostProcessing(rounding="round"))[:, 0, 0, 0]
    floored = sampling.to_uint8(x, PostProcessing(rounding="floor"))[:, 0, 0, 0]
    # LlamaGen: clamp(127.5 x + 128) truncated; VAR: clamp((x + 1) / 2) * 255 truncated.
    assert rounded.tolist() == [0, 0, 128, 128, 255, 255]
    assert floored.tolist() == [0, 0, 127, 127, 255, 255]


def test_resize_comes_before_clamping() -> None:
    x = torch.full((1, 3, 6, 6), 3.0)
    x[..., 3:] = -1.0
    resized = sampling.to_uint8(x, PostProcessing(size=3))[0, 0, :, 0]
    expected = torch.nn.functional.interpolate(x, size=(3, 3), mode="bicubic")[0, 0, 0]
    assert resized.tolist() == (127.5 * expected + 128).clamp(0, 255).to(torch.uint8).tolist()
    assert len(set(resized.tolist())) > 1


def test_the_log_has_a_row_a_batch(world, tmp_path: Path) -> None:
    draw(world, tmp_path, 1)
    rows = list(csv.DictReader((tmp_path / "shard_0.log.csv").open()))
    assert [int(row["first_sample"]) for row in rows] == list(range(0, 47, 6))
    assert sum(int(row["samples"]) for row in rows) == 47


@pytest.mark.parametrize(
    ("precisions", "expected"),
    [
        ({}, (None, None)),  # on a CPU
        ({"precision": "bf16", "decoder_precision": "fp32"}, (torch.bfloat16, None)),
        ({"precision": "fp16", "decoder_precision": "fp16"}, (torch.float16, torch.float16)),
    ],
)
def test_model_and_decoder_have_a_precision_each(
    world, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precisions: dict, expected: tuple
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seen = []

    def watched(function):
        def call(*arguments: object):
            on = torch.is_autocast_enabled("cpu")
            seen.append(torch.get_autocast_dtype("cpu") if on else None)
            return function(*arguments)

        return call

    monkeypatch.setattr(llamagen.Model, "sample", watched(llamagen.Model.sample))
    monkeypatch.setattr(vq.Model, "decode", watched(vq.Model.decode))
    settings = sampling.SamplingSettings(num_samples=4, batch_size=4, **precisions)
    sampling.run(settings, model=world.model, tokenizer=world.tokenizer, out=tmp_path / "s.npz", seed=0)
    assert tuple(seen) == expected
