"""Each objective against an independent computation, and its refusals."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cca import objectives, plugins
from cca.errors import CCAError

SPECS = [
    {"name": "cca", "beta": 0.5, "lam": 3.0},
    {"name": "cca", "beta": 0.5, "lam": 0.2},
    {"name": "dpo", "beta": 0.5},
    {"name": "unlearn", "lam": 2.0},
    {"name": "sft"},
    {"name": "ddo", "alpha": 3.0, "beta": 0.5},
]

# Four pairs: two with a true negative, one masked, one whose negative label equals its own.
G_POS = torch.tensor([1.0, -2.0, 0.5, 0.25], dtype=torch.float64)
G_NEG = torch.tensor([-1.0, 3.0, 0.5, 0.25], dtype=torch.float64)
POSITIVE_PAIR = torch.tensor([False, False, True, True])


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


@pytest.mark.parametrize("lam", [0.2, 1.0, 3.0])
def test_cca_by_hand(lam: float) -> None:
    beta = 0.5
    expected = [
        -log_sigmoid(0.5) - lam * log_sigmoid(0.5),
        -log_sigmoid(-1.0) - lam * log_sigmoid(-1.5),
        -2 * log_sigmoid(0.25),  # positive twice, with weight 1
        -2 * log_sigmoid(0.125),
    ]
    loss = objectives.bind({"name": "cca", "beta": beta, "lam": lam})(G_POS, G_NEG, POSITIVE_PAIR)
    assert loss.tolist() == pytest.approx([value / max(lam, 1) for value in expected], rel=1e-12)


def test_dpo_by_hand() -> None:
    loss = objectives.bind({"name": "dpo", "beta": 0.5})(G_POS, G_NEG, POSITIVE_PAIR)
    expected = [-log_sigmoid(1.0), -log_sigmoid(-2.5), math.log(2), math.log(2)]
    assert loss.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("lam", [0.1, 2.0])
def test_unlearn_by_hand(lam: float) -> None:
    loss = objectives.bind({"name": "unlearn", "lam": lam})(G_POS, G_NEG, POSITIVE_PAIR)
    expected = [-1.0 - lam, 2.0 + 3 * lam, -1.0, -0.5]
    assert loss.tolist() == pytest.approx([value / max(lam, 1) for value in expected], rel=1e-12)


def test_sft_by_hand() -> None:
    loss = objectives.bind({"name": "sft"})(G_POS, G_NEG, POSITIVE_PAIR)
    assert loss.tolist() == [-1.0, 2.0, -0.5, -0.25]  # masked pairs once, other labels not at all


def test_ddo_by_hand_and_its_negatives_are_samples() -> None:
    spec = {"name": "ddo", "alpha": 3.0, "beta": 0.5}
    nowhere = torch.zeros(4, dtype=torch.bool)
    expected = [
        -log_sigmoid(0.5) - 3 * log_sigmoid(0.5),
        -log_sigmoid(-1.0) - 3 * log_sigmoid(-1.5),
        -log_sigmoid(0.25) - 3 * log_sigmoid(-0.25),
        -log_sigmoid(0.125) - 3 * log_sigmoid(-0.125),
    ]
    assert objectives.bind(spec)(G_POS, G_NEG, nowhere).tolist() == pytest.approx(expected, rel=1e-12)
    assert objectives.contrasts_samples(spec)
    assert not any(objectives.contrasts_samples({"name": name}) for name in ("cca", "dpo", "sft", "unlearn"))


def test_the_optimum_of_ddo_is_the_data_distribution() -> None:
    # Three images; at the optimum the likelihood ratio is that of data and reference.
    data, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    loss = objectives.bind({"name": "ddo", "beta": 1.0})
    g = (data / reference).log().requires_grad_()
    nowhere = torch.zeros(3, dtype=torch.bool)
    real, fake = loss(g, torch.full((3,), -1e9), nowhere), loss(torch.full((3,), 1e9), g, nowhere)
    (data * real + reference * fake).sum().backward()
    assert g.grad.abs().max() < 1e-6


def test_all_parameters_can_be_read_back() -> None:
    assert objectives.bind({"name": "cca", "lam": 3}).keywords == {"beta": 0.02, "lam": 3.0}


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_gradients_by_finite_differences(spec: dict) -> None:
    loss = objectives.bind(spec)

    def total(g_pos: Tensor, g_neg: Tensor) -> Tensor:
        return loss(g_pos, g_neg, POSITIVE_PAIR).sum()

    inputs = (G_POS.clone().requires_grad_(), G_NEG.clone().requires_grad_())
    assert torch.autograd.gradcheck(total, inputs, eps=1e-6, atol=1e-8)


def test_dpo_gives_no_gradient_to_pairs_whose_two_sides_are_one() -> None:
    g = torch.tensor([0.7], requires_grad=True)
    objectives.bind({"name": "dpo"})(g, g, torch.tensor([True])).sum().backward()
    assert g.grad.item() == 0


@pytest.mark.parametrize("name", ["cca", "dpo"])
def test_extreme_log_likelihood_ratios_stay_finite(name: str) -> None:
    spec = {"name": name, "beta": 1.0} | ({"lam": 1.0} if name == "cca" else {})
    g = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = objectives.bind(spec)(g, -g, torch.tensor([False, False]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(g.grad).all()


def test_every_objective_file_is_a_plug_in() -> None:
    assert {"cca", "ddo", "dpo", "sft", "unlearn"} <= set(plugins.names("cca.objectives"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "ccaa", "lam": 1}, "'ccaa' is not one of the objectives: cca, ddo, dpo, "),
        ({"lam": 1}, "needs a 'name'"),
        ({"name": "cca"}, "key 'lam' is missing"),
        ({"name": "cca", "lam": -1}, "key 'lam': Input should be greater than or equal to 0, got -1"),
        ({"name": "cca", "lam": 1, "beta": 0}, "key 'beta': Input should be greater than 0"),
        ({"name": "dpo", "lam": 1}, "unknown key 'lam'; allowed keys: beta"),
    ],
)
def test_refusals_are_one_line(spec: dict, message: str) -> None:
    with pytest.raises(CCAError) as error:
        objectives.bind(spec)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ask", [objectives.bind, objectives.contrasts_samples])
def test_a_misspelt_kind_of_negatives_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: object
) -> None:
    (tmp_path / "typo.py").write_text('NEGATIVES = "sample"\n\ndef loss(g_pos, g_neg, positive_pair): ...\n')
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    with pytest.raises(CCAError) as error:
        ask({"name": "typo"})
    assert str(error.value) == "objective typo: NEGATIVES is 'sample', not 'labels' or 'samples'"
