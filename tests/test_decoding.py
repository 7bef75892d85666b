"""Choosing tokens: against loops in plain Python, and at the edges."""

import math

import numpy as np
import pytest
import torch

from cca.decoding import choose_tokens, keep_likely
from cca.guidance import Guidance

INF = math.inf
LAST = 1 - 2**-53  # the largest float64 below 1


def softmax(logits: list[float]) -> list[float]:
    highest = max(logits)
    weights = [math.exp(value - highest) for value in logits]
    return [weight / sum(weights) for weight in weights]


def kept_by_llamagen(logits: list[float], guidance: Guidance) -> set[int]:
    """The rule of LlamaGen's ``top_k_top_p_filtering``, one token at a time (logits without ties)."""
    order = sorted(range(len(logits)), key=lambda token: -logits[token])
    if guidance.top_k:
        order = order[: guidance.top_k]
    kept, so_far = set(), 0.0
    for token, p in zip(order, softmax([logits[token] for token in order]), strict=True):
        if so_far > guidance.top_p:
            break
        kept.add(token)
        so_far += p
    return kept


def kept_by_var(logits: list[float], guidance: Guidance) -> set[int]:
    """The rule of VAR's ``sample_with_top_k_top_p_``: what the ascending sum up to 1 - p holds is dropped."""
    order = sorted(range(len(logits)), key=lambda token: -logits[token])
    if guidance.top_k:
        order = order[: guidance.top_k]
    order = order[::-1]
    kept, so_far = {order[-1]}, 0.0
    for token, p in zip(order, softmax([logits[token] for token in order]), strict=True):
        so_far += p
        if so_far > 1 - guidance.top_p:
            kept.add(token)
    return kept


def chosen_by_loops(logits: list[float], u: float, guidance: Guidance) -> int:
    scaled = [value / guidance.temperature for value in logits]
    kept = sorted(kept_by_llamagen(scaled, guidance))
    so_far = 0.0
    for token, p in zip(kept, softmax([scaled[token] for token in kept]), strict=True):
        so_far += p
        if so_far > u:
            return token
    return kept[-1]


GUIDANCES = [
    Guidance(),
    Guidance(temperature=0.5),
    Guidance(temperature=3.0),
    Guidance(top_k=1),
    Guidance(top_k=3),
    Guidance(top_k=7),
    Guidance(top_p=0.3),
    Guidance(top_p=0.9),
    Guidance(top_k=4, top_p=0.8),
    Guidance(top_k=5, top_p=0.6, temperature=1.7),
]


@pytest.mark.parametrize("guidance", GUIDANCES, ids=repr)
def test_agrees_with_loops(guidance: Guidance):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(40, 5, 7)).astype(np.float32)
    uniforms = rng.random((40, 5))
    expected = [
        [chosen_by_loops(row.tolist(), u, guidance) for row, u in zip(rows, us, strict=True)]
        for rows, us in zip(logits, uniforms, strict=True)
    ]
    tokens = choose_tokens(torch.from_numpy(logits), torch.from_numpy(uniforms), guidance)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == expected
    one_position = choose_tokens(torch.from_numpy(logits[:, 2]), torch.from_numpy(uniforms[:, 2]), guidance)
    assert one_position.tolist() == [row[2] for row in expected]


@pytest.mark.parametrize("guidance", GUIDANCES, ids=repr)
def test_keeps_what_both_official_rules_keep(guidance: Guidance):
    logits = np.random.default_rng(1).normal(scale=2, size=(200, 9)).astype(np.float32)
    kept = keep_likely(torch.from_numpy(logits), guidance).isfinite()
    for row, mask in zip(logits, kept, strict=True):
        scaled = (row / guidance.temperature).tolist()
        assert set(mask.nonzero().flatten().tolist()) == kept_by_llamagen(scaled, guidance)
        assert kept_by_llamagen(scaled, guidance) == kept_by_var(scaled, guidance)


def test_top_p_keeps_the_token_that_passes_p_and_one_that_starts_at_p():
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    for top_p, kept in ((0.1, 1), (0.49, 1), (0.51, 2), (0.74, 2), (0.76, 4), (0.9, 4)):
        assert keep_likely(logits, Guidance(top_p=top_p)).isfinite().sum() == kept
    first = logits.softmax(dim=1)[0, 0].item()
    assert keep_likely(logits, Guidance(top_p=first)).isfinite().sum() == 2


def test_ties_at_the_edge_all_stay():
    logits = torch.tensor([[1.0, 2.0, 1.0, 0.0, 1.0]])
    expected = [[True, True, True, False, True]]
    assert keep_likely(logits, Guidance(top_k=2)).isfinite().tolist() == expected
    assert keep_likely(logits, Guidance(top_p=0.5)).isfinite().tolist() == expected


def test_the_likeliest_token_always_stays():
    logits = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    uniforms = torch.linspace(0, LAST, 50, dtype=torch.float64)
    for guidance in (Guidance(top_k=1), Guidance(top_p=1e-9), Guidance(temperature=1e-50)):
        assert torch.equal(choose_tokens(logits, uniforms, guidance), logits.argmax(dim=1))


def test_low_temperature_does_not_overflow():
    logits = torch.tensor([[-3e38, 3e38, 2e38]])
    assert choose_tokens(logits, torch.tensor([LAST]), Guidance(temperature=0.01)).tolist() == [1]


def test_top_k_beyond_the_vocabulary_keeps_all():
    logits, uniforms = torch.randn(100, 6), torch.rand(100)
    plain = choose_tokens(logits, uniforms, Guidance())
    for top_k in (6, 7, 900):
        assert torch.equal(choose_tokens(logits, uniforms, Guidance(top_k=top_k)), plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniforms_at_the_ends_never_choose_a_token_of_probability_zero(dtype: torch.dtype):
    logits = torch.tensor([[-INF, 0.0, -INF, 1.0, -INF], [-1e4, 0.0, 1.0, 0.0, -1e4]])
    zeros, ones = torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype)
    assert choose_tokens(logits, zeros, Guidance()).tolist() == [1, 1]
    assert choose_tokens(logits, torch.nextafter(ones, zeros), Guidance()).tolist() == [3, 3]
    assert choose_tokens(logits, ones, Guidance()).tolist() == [3, 3]  # a number rounded up to 1


def test_a_uniform_number_on_a_boundary_chooses_the_token_above_it():
    logits = torch.zeros(5, 4)
    uniforms = torch.tensor([0.0, 0.25, 0.5, 0.75, LAST], dtype=torch.float64)
    assert choose_tokens(logits, uniforms, Guidance()).tolist() == [0, 1, 2, 3, 3]


def test_evenly_spaced_uniforms_give_each_token_its_share():
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(3)) * 3
    count = 20_000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = choose_tokens(logits.expand(count, -1)[None], uniforms[None], Guidance())
    counts = tokens.flatten().bincount(minlength=300)
    assert (counts - logits[0].double().softmax(0) * count).abs().max() <= 1


def test_the_cdf_of_a_large_vocabulary_does_not_drift():
    V = 50_021
    rows = torch.arange(0, V, 97)
    logits = torch.full((1, V), 0.3).expand(len(rows), -1)
    for place in (0.001, 0.999):  # in the row's share of the unit interval, 2e-5 wide
        uniforms = (rows.double() + place) / V
        assert torch.equal(choose_tokens(logits, uniforms, Guidance()), rows)


def test_low_precision_logits_are_widened_and_left_unchanged():
    logits = torch.randn(64, 20).bfloat16()
    before, uniforms = logits.clone(), torch.rand(64, dtype=torch.float64)
    guidance = Guidance(temperature=0.7, top_k=9, top_p=0.9)
    tokens = choose_tokens(logits, uniforms, guidance)
    assert torch.equal(logits, before)
    assert torch.equal(tokens, choose_tokens(logits.float(), uniforms, guidance))


def test_rows_of_nan_still_give_tokens_of_the_vocabulary():
    tokens = choose_tokens(torch.full((3, 8), math.nan), torch.tensor([0.0, 0.5, LAST]), Guidance(top_p=0.9))
    assert ((tokens >= 0) & (tokens < 8)).all()
