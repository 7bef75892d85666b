"""Worlds, sequences and distances against loops and closed forms."""

import itertools
import math

import pytest
import torch

from cca.theory.distances import LARGEST_SCALE, effective_scale, kl, total_variation
from cca.theory.measurements import compare
from cca.theory.sequences import chain, guided, unchain
from cca.theory.world import Worlds, draw


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    return draw(range(3), tokens=3, length=3, labels=4, informativeness=[0.5, 2])


def test_worlds_are_normalised_and_follow_from_their_seeds(worlds: Worlds) -> None:
    assert worlds.conditional.shape == (6, 4, 27)
    for log_p in (worlds.labels, worlds.conditional, worlds.marginal):
        assert log_p.exp().sum(dim=-1).sub(1).abs().max() < 1e-12
    again = draw(range(2, 3), tokens=3, length=3, labels=4, informativeness=[2])
    assert torch.equal(again.conditional[0], worlds.conditional[5])
    assert not torch.equal(worlds.conditional[4], worlds.conditional[5])


def test_information_grows_with_informativeness_and_is_none_at_zero(worlds: Worlds) -> None:
    assert (worlds.information[:3] < worlds.information[3:]).all() and (worlds.information > 0).all()
    nothing = draw(range(3), tokens=3, length=2, labels=4, informativeness=[0])
    assert nothing.ratio.abs().max() < 1e-12
    assert torch.allclose(nothing.target(7.0), nothing.conditional, atol=1e-12)
    assert effective_scale(nothing, nothing.conditional).isnan().all()


def test_chaining_next_tokens_by_a_loop_and_back(worlds: Worlds) -> None:
    logits = [torch.randn(1, 2, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)]
    joint = chain(logits)
    for index, (a, b) in enumerate(itertools.product(range(2), repeat=2)):
        by_hand = logits[0].log_softmax(-1)[0, a] + logits[1].log_softmax(-1)[a, b]
        assert joint[index].item() == pytest.approx(by_hand.item(), abs=1e-12)
    assert torch.allclose(chain(unchain(worlds.conditional, 3)), worlds.conditional, atol=1e-12)


def test_guided_sampling_by_a_loop(worlds: Worlds) -> None:
    scale, world, label = 1.7, 4, 2
    p_c, p = worlds.conditional[world, label].exp(), worlds.marginal[world, 0].exp()
    drawn = guided(worlds.conditional, worlds.marginal, scale, 3)[world, label].exp()
    sequences = list(itertools.product(range(3), repeat=3))

    def next_token(table: torch.Tensor, prefix: tuple[int, ...]) -> list[float]:
        mass = [
            sum(table[i] for i, x in enumerate(sequences) if x[: len(prefix) + 1] == (*prefix, v))
            for v in range(3)
        ]
        return [float(m / sum(mass)) for m in mass]

    for index, sequence in enumerate(sequences):
        by_hand = 1.0
        for position, token in enumerate(sequence):
            one, other = next_token(p_c, sequence[:position]), next_token(p, sequence[:position])
            weights = [a * (a / b) ** scale for a, b in zip(one, other, strict=True)]
            by_hand *= weights[token] / sum(weights)
        assert drawn[index].item() == pytest.approx(by_hand, abs=1e-12)


def test_without_guidance_cfg_is_the_model_and_a_single_token_is_guided_exactly(worlds: Worlds) -> None:
    plain = guided(worlds.conditional, worlds.marginal, 0.0, 3)
    assert torch.allclose(plain, worlds.conditional, atol=1e-12)
    single = draw(range(3), tokens=5, length=1, labels=3, informativeness=[1])
    cfg = guided(single.conditional, single.marginal, 3.0, 5)
    assert torch.allclose(cfg, single.target(3.0), atol=1e-12)
    assert kl(worlds, guided(worlds.conditional, worlds.marginal, 3.0, 3), worlds.target(3.0)).min() > 1e-4


def test_the_target_by_hand(worlds: Worlds) -> None:
    p = worlds.conditional[1, 2].exp()
    weights = p * (p / worlds.marginal[1, 0].exp()) ** 2.5
    assert torch.allclose(worlds.target(2.5)[1, 2].exp(), weights / weights.sum(), atol=1e-12)
    scales = torch.tensor([0.0, 1, 2, 3, 4, 5], dtype=torch.float64)
    assert torch.allclose(worlds.target(scales)[3], worlds.target(3.0)[3], atol=1e-12)


def test_distances_by_hand_and_their_bounds(worlds: Worlds) -> None:
    two = Worlds(
        torch.tensor([[1.0]], dtype=torch.float64).log(),
        torch.tensor([[[0.5, 0.5]]], dtype=torch.float64).log(),
        2,
    )
    other = torch.tensor([[[0.25, 0.75]]], dtype=torch.float64).log()
    assert kl(two, two.conditional, other).item() == pytest.approx(0.5 * math.log(4 / 3))
    assert total_variation(two, two.conditional, other).item() == pytest.approx(0.25)
    one, another = worlds.conditional, worlds.target(2.0)
    distance, variation = kl(worlds, one, another), total_variation(worlds, one, another)
    assert (distance > 0).all() and (variation <= (distance / 2).sqrt()).all()  # Pinsker
    assert kl(worlds, one, one).abs().max() < 1e-12


def test_the_effective_scale_of_a_target_is_its_own_and_no_other_target_is_nearer(worlds: Worlds) -> None:
    for scale in (0.0, 0.3, 4.0):
        assert torch.allclose(
            effective_scale(worlds, worlds.target(scale)), torch.full((6,), scale).double(), atol=1e-6
        )
    cfg = guided(worlds.conditional, worlds.marginal, 2.0, 3)
    found = effective_scale(worlds, cfg)
    least = kl(worlds, cfg, worlds.target(found))
    assert all((kl(worlds, cfg, worlds.target(found + step)) > least).all() for step in (-0.01, 0.01))


def test_beyond_the_largest_scale_there_is_none(worlds: Worlds) -> None:
    argmax = torch.nn.functional.one_hot(worlds.ratio.argmax(dim=-1), 27).double()
    sharp = (argmax + 1e-300).log()
    assert effective_scale(worlds, sharp).isnan().all()
    conditional = torch.tensor([[[0.5001, 0.4999], [0.4999, 0.5001]]], dtype=torch.float64).log()
    close = Worlds(torch.full((1, 2), 0.5, dtype=torch.float64).log(), conditional, 2)
    assert effective_scale(close, close.target(0.9 * LARGEST_SCALE)).item() == pytest.approx(900)
    compared = compare(close, close.target(1.1 * LARGEST_SCALE))
    assert all(value.isfinite().item() == name.startswith("g_") for name, value in compared.items())
