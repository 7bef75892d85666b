"""Minimisers and paths against closed forms, other optimisers and the objectives themselves."""

import pytest
import torch

from cca import objectives
from cca.theory.distances import kl
from cca.theory.losses import derivatives, expected, separate
from cca.theory.measurements import NCE
from cca.theory.minimisers import exact_lam, free_ratio, normalised, unlearned
from cca.theory.paths import descend, initial_slope
from cca.theory.world import Worlds, draw


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    return draw(range(3), tokens=3, length=2, labels=3, informativeness=[1])


def cca(beta: float, lam: float) -> objectives.partial:
    return objectives.bind({"name": "cca", "beta": beta, "lam": lam})


def slopes(loss: objectives.partial, worlds: Worlds, p: torch.Tensor) -> torch.Tensor:
    """Largest slope of the expected loss over pairs in the logits of a normalised table."""
    logits = p.clone().requires_grad_()
    value = expected(loss, worlds, logits.log_softmax(dim=-1) - worlds.conditional).sum()
    return torch.autograd.grad(value, logits)[0].abs().max()


def test_the_minimiser_of_theorem_3_1(worlds: Worlds) -> None:
    steps = [(r - worlds.ratio).abs().max() for r in free_ratio(objectives.bind(NCE), worlds, 40)]
    assert steps[-1] < 1e-10 < 0.1 < steps[0]
    p = worlds.labels[..., None] + worlds.conditional  # the loss as the paper writes it
    q = worlds.labels[..., None] + worlds.marginal
    r = worlds.ratio.clone().requires_grad_()
    loss = -(p.exp() * r.sigmoid().log()).sum() - (q.exp() * (-r).sigmoid().log()).sum()
    assert torch.autograd.grad(loss, r)[0].abs().max() < 1e-12


@pytest.mark.parametrize(
    "spec", [{"name": "cca", "beta": 0.7, "lam": 3}, {"name": "unlearn", "lam": 0.4}], ids=str
)
def test_separate_terms_add_up_to_the_loss_of_all_pairs(worlds: Worlds, spec: dict) -> None:
    loss, g = objectives.bind(spec), torch.linspace(-2, 2, 3 * 3 * 9, dtype=torch.float64).reshape(3, 3, 9)
    total = (worlds.labels.exp() * separate(loss, worlds, g).sum(dim=-1)).sum(dim=-1)
    constant = loss(torch.zeros(1).double(), torch.zeros(1).double(), torch.tensor(False))
    assert torch.allclose(total - constant, expected(loss, worlds, g), atol=1e-12)


def test_the_loss_of_all_pairs_by_a_loop(worlds: Worlds) -> None:
    loss, g = objectives.bind({"name": "dpo", "beta": 0.5}), worlds.target(1.0) - worlds.conditional
    by_hand = sum(
        worlds.labels[0, c].exp()
        * worlds.conditional[0, c, x].exp()
        * worlds.labels[0, d].exp()
        * loss(g[0, c, x], g[0, d, x], torch.tensor(False))
        for c in range(3)
        for d in range(3)
        for x in range(9)
    )
    assert expected(loss, worlds, g)[0].item() == pytest.approx(by_hand.item(), rel=1e-12)


@pytest.mark.parametrize(("beta", "lam"), [(0.02, 0.3), (0.02, 1), (0.5, 1), (0.5, 3), (2, 0.1), (1, 10)])
def test_the_loss_is_flat_at_the_normalised_minimiser_and_higher_around(
    worlds: Worlds, beta: float, lam: float
) -> None:
    loss = cca(beta, lam)
    p, slope = normalised(loss, worlds)
    assert slope.max() < 1e-9 and slopes(loss, worlds, p) < 1e-9
    assert p.exp().sum(dim=-1).sub(1).abs().max() < 1e-12
    least = expected(loss, worlds, p - worlds.conditional)
    for seed in range(5):
        noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        near = (p + 0.05 * noise).log_softmax(dim=-1)
        assert (expected(loss, worlds, near - worlds.conditional) > least).all()


def test_up_to_lam_one_no_other_start_finds_a_lower_loss(worlds: Worlds) -> None:
    loss = cca(0.3, 1.0)
    least = expected(loss, worlds, normalised(loss, worlds)[0] - worlds.conditional)
    for seed in range(2):
        noise = torch.randn((3, 3, 9), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        logits = (3 * noise).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [logits], max_iter=500, line_search_fn="strong_wolfe", tolerance_change=0
        )

        def closure(logits: torch.Tensor = logits, optimiser: torch.optim.LBFGS = optimiser) -> torch.Tensor:
            optimiser.zero_grad()
            value = expected(loss, worlds, logits.log_softmax(dim=-1) - worlds.conditional).sum()
            value.backward()
            return value

        optimiser.step(closure)
        found = expected(loss, worlds, logits.detach().log_softmax(dim=-1) - worlds.conditional)
        assert (found >= least - 1e-10).all() and torch.allclose(found, least, atol=1e-5)


def test_at_the_exact_lam_of_a_label_the_nominal_target_is_the_minimiser(worlds: Worlds) -> None:
    beta = 0.5
    lams = exact_lam(worlds, beta)
    assert (lams > 1).all()
    for world in range(3):
        for label in range(3):
            p, _ = normalised(cca(beta, lams[world, label].item()), worlds)
            assert torch.allclose(
                p[world, label].exp(), worlds.target(1 / beta)[world, label].exp(), atol=1e-6
            )


def test_unlearning_has_the_closed_form_where_it_has_a_minimiser() -> None:
    worlds = draw(range(4), tokens=3, length=2, labels=3, informativeness=[0.2])
    lam = 0.3
    loss = objectives.bind({"name": "unlearn", "lam": lam})
    p = unlearned(worlds, lam)
    exists = ~p.isnan().any(dim=-1).any(dim=-1)
    assert exists.any()
    chosen = Worlds(worlds.labels[exists], worlds.conditional[exists], 3)
    assert slopes(loss, chosen, p[exists]) < 1e-12
    assert p[exists].exp().sum(dim=-1).sub(1).abs().max() < 1e-12
    assert unlearned(worlds, 1.0).isnan().all()


@pytest.mark.parametrize("geometry", ["plain", "even"])
def test_unlearning_falls_without_bound_and_cca_does_not(worlds: Worlds, geometry: str) -> None:
    steps = [200, 400, 800]

    def negatives(spec: dict) -> list[float]:
        paths = descend(objectives.bind(spec), worlds, geometry, {"plain": 2, "even": 0.02}[geometry], steps)
        return [worlds.mean(worlds.marginal, p - worlds.conditional).mean().item() for p in paths]

    unlearn = negatives({"name": "unlearn", "lam": 1})
    assert unlearn[1] < 1.8 * unlearn[0] and unlearn[2] < 1.8 * unlearn[1]  # still as fast
    bounded = negatives({"name": "cca", "beta": 2, "lam": 1})
    assert bounded[2] > 1.1 * bounded[1]


def test_log_p_of_positives_cannot_rise_above_a_perfect_model(worlds: Worlds) -> None:
    for p in descend(cca(0.02, 1), worlds, "even", 0.02, [10, 40]):
        g_pos = worlds.mean(worlds.conditional, p - worlds.conditional)
        assert torch.allclose(g_pos, -kl(worlds, worlds.conditional, p)) and (g_pos < 0).all()


def test_all_objectives_start_at_one_speed_whatever_their_beta(worlds: Worlds) -> None:
    assert initial_slope(cca(0.5, 4)) == pytest.approx(0.25 / 4)
    specs = [{"name": "cca", "beta": beta, "lam": 1} for beta in (0.02, 2)]
    specs += [{"name": "dpo", "beta": 0.3}, {"name": "unlearn", "lam": 1}]
    first = [next(descend(objectives.bind(spec), worlds, "plain", 1e-3, [1])) for spec in specs]
    assert all(torch.allclose(p, first[0], atol=1e-12) for p in first)
    assert (first[0] - worlds.conditional).abs().max() > 1e-6


def test_gradient_descent_arrives_at_the_minimiser(worlds: Worlds) -> None:
    loss = cca(2, 1)
    (p,) = descend(loss, worlds, "even", 0.1, [2000])
    assert kl(worlds, p, normalised(loss, worlds)[0]).max() < 1e-5


def test_dpo_leaves_the_likelihood_of_positives_open(worlds: Worlds) -> None:
    """Adding h(x) for all labels changes nothing, so long as every label still adds up to 1."""
    beta, loss = 0.5, objectives.bind({"name": "dpo", "beta": 0.5})
    g = worlds.ratio / beta  # differences between labels as DPO's optimum wants them
    h = torch.linspace(-3, 0, 9, dtype=torch.float64)
    assert torch.allclose(expected(loss, worlds, g), expected(loss, worlds, g + h), atol=1e-12)
    leaf = g.clone().requires_grad_()
    assert torch.autograd.grad(expected(loss, worlds, leaf).sum(), leaf)[0].abs().max() < 1e-12
    assert (worlds.mean(worlds.conditional, g + h) < worlds.mean(worlds.conditional, g)).all()


def test_derivatives_by_finite_differences(worlds: Worlds) -> None:
    loss, g, step = cca(0.5, 2), worlds.target(1.0) - worlds.conditional, 1e-4
    _, slope, curvature = derivatives(loss, worlds, g)
    up, here, down = (separate(loss, worlds, g + shift) for shift in (step, 0, -step))
    assert torch.allclose(slope, (up - down) / (2 * step), atol=1e-7)
    assert torch.allclose(curvature, (up - 2 * here + down) / step**2, atol=1e-6)
