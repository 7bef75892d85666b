"""LlamaGen: official layout and numbers, causality, cached decoding, guidance, sampling."""

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from cca import models
from cca.errors import CCAError
from cca.guidance import Guidance
from cca.models import llamagen

LARGEST_CHANGE_WITH_BATCH = 0.002
"""Share of tokens that may differ between batch sizes, where rounding crosses a boundary of the CDF."""


def grid(vocab_size: int, num_tokens: int) -> SimpleNamespace:
    """What a model needs to know of a tokenizer."""
    return SimpleNamespace(vocab_size=vocab_size, num_tokens=num_tokens)


def random_model(*, vocab: int = 11, tokens: int = 16, classes: int = 3, **sizes: float) -> llamagen.Model:
    """A model whose weights are large enough to make everything depend on everything, in eval mode."""
    sizes = {"dim": 24, "layers": 2, "heads": 2, "multiple_of": 8, **sizes}
    model = models.build("llamagen", sizes, grid(vocab, tokens), classes)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            scale = 0.3 if weight.dim() == 1 else 2 * weight.shape[-1] ** -0.5
            weight.copy_((weight.dim() == 1) + scale * torch.randn(weight.shape, generator=rng))
    return model.eval()


def random_inputs(model: llamagen.Model, count: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    codes = torch.randint(model.vocab_size, (count, model.num_tokens), generator=rng)
    return codes, torch.randint(model.num_classes + 1, (count,), generator=rng)


def random_uniforms(count: int, tokens: int) -> Tensor:
    return torch.rand(count, tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def decoded_logits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """A function giving the logits (B, T, V) that `sample` chooses from while made to draw ``codes``."""

    def run(model: llamagen.Model, codes: Tensor, labels: Tensor, guidance: Guidance | None = None) -> Tensor:
        seen = []

        def choose(logits: Tensor, uniforms: Tensor, guidance: Guidance) -> Tensor:
            seen.append(logits)
            return codes[:, len(seen) - 1]

        with monkeypatch.context() as patch:
            patch.setattr(llamagen, "choose_tokens", choose)
            drawn = model.sample(labels, guidance or Guidance(), torch.zeros(codes.shape))
        assert torch.equal(drawn, codes)
        return torch.stack(seen, dim=1)

    return run


def batch_sizes(model: llamagen.Model, guidance: Guidance) -> list[int]:
    """Batch sizes of the passes that sampling three images takes."""
    sizes = []
    hook = model.layers[0].register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    model.sample(torch.tensor([0, 1, 2]), guidance, random_uniforms(3, model.num_tokens))
    hook.remove()
    return sizes


def test_weights_of_llamagen_b_have_the_official_names_and_shapes():
    with torch.device("meta"):
        model = models.build("llamagen", {"dim": 768, "layers": 12, "heads": 12}, grid(16384, 576), 1000)
    expected = {
        "cls_embedding.embedding_table.weight": (1001, 768),
        "tok_embeddings.weight": (16384, 768),
        "norm.weight": (768,),
        "output.weight": (16384, 768),
    }
    for layer in range(12):
        expected |= {
            f"layers.{layer}.attention.wqkv.weight": (2304, 768),
            f"layers.{layer}.attention.wo.weight": (768, 768),
            f"layers.{layer}.feed_forward.w1.weight": (2048, 768),
            f"layers.{layer}.feed_forward.w2.weight": (768, 2048),
            f"layers.{layer}.feed_forward.w3.weight": (2048, 768),
            f"layers.{layer}.attention_norm.weight": (768,),
            f"layers.{layer}.ffn_norm.weight": (768,),
        }
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected
    assert model.num_steps == model.num_tokens == 576


def test_untrained_models_are_uniform():
    torch.manual_seed(0)
    model = models.build("llamagen", {"dim": 64, "layers": 2, "heads": 2}, grid(50, 9), 4)
    assert not model.output.weight.any()
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            assert (weight == 1).all()
        elif name != "output.weight":
            assert abs(weight.std() - 0.02) < 0.003 and abs(weight.mean()) < 0.003, name
    codes, labels = random_inputs(model, 5)
    torch.testing.assert_close(model.token_log_probs(codes, labels), torch.full((5, 9), -math.log(50)))


# Made with FoundationVision/LlamaGen ce98ec4 (autoregressive/models/gpt.py, generate.py; float32, CPU) from
# the weights of `by_formula`: its Transformer's log-softmax in train() mode without dropout, and its greedy
# `generate` with cfg_scale 1 and 2, which is s = 0 and 1 here.
GOLDEN_LOG_PROBS = [
    [-8.18799, -1.96201, -2.6939, -5.61622, -1.212, -3.65566, -4.94879, -4.16982, -4.78478],
    [-1.85163, -3.17269, -1.18511, -6.83945, -5.90226, -2.77158, -5.19217, -2.76032, -5.49679],
]
GOLDEN_GREEDY = {
    0.0: [[5, 0, 0, 7, 7, 7, 7, 7, 7], [7, 9, 5, 5, 1, 8, 7, 5, 1], [7, 7, 5, 1, 1, 8, 7, 0, 8]],
    1.0: [[5, 0, 0, 7, 7, 5, 1, 0, 8], [7, 7, 9, 5, 1, 0, 7, 1, 0], [5, 8, 5, 5, 5, 5, 5, 1, 8]],
}


def by_formula(name: str, shape: torch.Size) -> Tensor:
    """A weight's values from its name and shape alone: scattered in (-1, 1), then scaled."""
    seed = sum((place + 1) * byte for place, byte in enumerate(name.encode()))
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    values = (torch.sin(index * 12.9898 + seed % 1000) * 43758.5453).frac()
    return (1 + 0.3 * values if len(shape) == 1 else values * 2.5 / shape[-1] ** 0.5).float().reshape(shape)


@pytest.fixture
def golden_model() -> llamagen.Model:
    sizes = {"dim": 16, "layers": 2, "heads": 2, "multiple_of": 8}
    model = models.build("llamagen", sizes, grid(12, 9), 3)
    model.load_state_dict({name: by_formula(name, w.shape) for name, w in model.state_dict().items()})
    return model


@pytest.mark.parametrize("training", [True, False])
def test_log_probabilities_of_the_official_code(golden_model: llamagen.Model, training: bool):
    golden_model.train(training)
    codes = torch.arange(18).view(2, 9) * 5 % 12
    log_probs = golden_model.token_log_probs(codes, torch.tensor([1, 3]))
    torch.testing.assert_close(log_probs, torch.tensor(GOLDEN_LOG_PROBS), atol=2e-5, rtol=0)
    torch.testing.assert_close(golden_model.log_prob(codes, torch.tensor([1, 3])), log_probs.sum(1))


@pytest.mark.parametrize("scale", GOLDEN_GREEDY)
def test_greedy_codes_of_the_official_code(golden_model: llamagen.Model, scale: float):
    codes = golden_model.sample(torch.arange(3), Guidance(scale=scale, top_k=1), random_uniforms(3, 9))
    assert codes.tolist() == GOLDEN_GREEDY[scale]


@pytest.mark.parametrize("training", [True, False])
def test_a_code_changes_later_log_probabilities_only(training: bool):
    model = random_model().train(training)
    codes, labels = random_inputs(model, 6)
    before = model.token_log_probs(codes, labels)
    for t in range(model.num_tokens):
        changed = codes.clone()
        changed[:, t] = (changed[:, t] + 1) % model.vocab_size
        after = model.token_log_probs(changed, labels)
        assert torch.equal(after[:, :t], before[:, :t])
        assert (after[:, t:] != before[:, t:]).all(dim=0).all()
    assert (model.token_log_probs(codes, (labels + 1) % 4) != before).all(dim=0).all()


@pytest.mark.parametrize("fused", [True, False])
def test_cached_decoding_has_the_log_probabilities_of_the_full_pass(
    decoded_logits: Callable, monkeypatch: pytest.MonkeyPatch, fused: bool
):
    model = random_model(dim=32, heads=4)
    codes, labels = random_inputs(model, 9)
    cache = llamagen.Cache
    monkeypatch.setattr(llamagen, "Cache", lambda length, **_: cache(length, fused=fused))
    log_probs = decoded_logits(model, codes, labels).log_softmax(-1).gather(-1, codes[..., None])[..., 0]
    torch.testing.assert_close(log_probs, model.token_log_probs(codes, labels), atol=2e-5, rtol=0)


@pytest.mark.parametrize("fused", [True, False])
def test_autocast(decoded_logits: Callable, monkeypatch: pytest.MonkeyPatch, fused: bool):
    model = random_model()
    codes, labels = random_inputs(model, 9)
    cache = llamagen.Cache
    monkeypatch.setattr(llamagen, "Cache", lambda length, **_: cache(length, fused=fused))
    exact = model.token_log_probs(codes, labels)
    with torch.autocast("cpu", torch.bfloat16):
        full = model.token_log_probs(codes, labels)
        cached = decoded_logits(model, codes, labels)
    assert full.dtype == cached.dtype == torch.float32
    assert 0 < (full - exact).abs().mean() < 0.05
    log_probs = cached.log_softmax(-1).gather(-1, codes[..., None])[..., 0]
    assert (log_probs - exact).abs().mean() < 0.05


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_scale_zero_is_no_guidance_bit_for_bit_in_one_pass(decoded_logits: Callable, schedule: str):
    model = random_model()
    codes, labels = random_inputs(model, 5)
    nought = Guidance(scale=0, schedule=schedule)
    assert torch.equal(decoded_logits(model, codes, labels, nought), decoded_logits(model, codes, labels))
    uniforms = random_uniforms(5, model.num_tokens)
    assert torch.equal(model.sample(labels, nought, uniforms), model.sample(labels, Guidance(), uniforms))
    assert batch_sizes(model, nought) == [3] * model.num_steps


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_guidance_takes_two_passes_in_one_batch(schedule: str):
    model = random_model()
    assert batch_sizes(model, Guidance(scale=1.5, schedule=schedule)) == [6] * model.num_steps


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_guided_logits_are_the_formula_of_two_separate_passes(
    decoded_logits: Callable, scale: float, schedule: str
):
    model = random_model()
    codes, labels = random_inputs(model, 7)
    conditional = decoded_logits(model, codes, labels)
    unconditional = decoded_logits(model, codes, torch.full_like(labels, model.num_classes))
    ramp = torch.ones(16) if schedule == "constant" else torch.arange(16) / 15
    s = scale * ramp[:, None]
    guided = decoded_logits(model, codes, labels, Guidance(scale=scale, schedule=schedule))
    torch.testing.assert_close(guided, (1 + s) * conditional - s * unconditional, atol=1e-4, rtol=0)
    assert (guided - conditional)[:, 1:].abs().mean() > 0.1


def exact_distribution(model: llamagen.Model, label: int, scale: float) -> tuple[list, Tensor]:
    """All code sequences and their probabilities under guidance, by enumeration."""
    sequences = list(itertools.product(range(model.vocab_size), repeat=model.num_tokens))
    codes = torch.tensor(sequences)
    conditional = model.token_log_probs(codes, torch.full((len(codes),), label)).double()
    unconditional = model.token_log_probs(codes, torch.full((len(codes),), model.num_classes)).double()
    weights = ((1 + scale) * conditional - scale * unconditional).exp()
    totals: dict[tuple, float] = {}  # of each prefix, over the next code
    for t in range(model.num_tokens):
        for sequence, weight in zip(sequences, weights[:, t].tolist(), strict=True):
            totals.setdefault(sequence[:t], {})[sequence[t]] = weight
    shares = [
        math.prod(
            totals[sequence[:t]][sequence[t]] / sum(totals[sequence[:t]].values())
            for t in range(len(sequence))
        )
        for sequence in sequences
    ]
    return sequences, torch.tensor(shares, dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.0, 0.7])
def test_samples_have_the_models_frequencies(scale: float):
    model = random_model(vocab=3, tokens=4)
    with torch.no_grad():
        model.output.weight *= 0.5  # no sequence too rare for the test
    sequences, probabilities = exact_distribution(model, 1, scale)
    assert abs(probabilities.sum() - 1) < 1e-9
    if scale == 0:
        log_prob = model.log_prob(torch.tensor(sequences), torch.ones(81, dtype=torch.int64))
        torch.testing.assert_close(log_prob.double().exp(), probabilities, atol=1e-5, rtol=0)
    count = 40_000
    labels = torch.ones(count, dtype=torch.int64)
    codes = model.sample(labels, Guidance(scale=scale), random_uniforms(count, 4))
    counts = (codes * torch.tensor([27, 9, 3, 1])).sum(1).bincount(minlength=81)
    expected = probabilities * count
    common = expected >= 5
    observed = torch.cat([counts[common], counts[~common].sum().view(1)])
    expected = torch.cat([expected[common], expected[~common].sum().view(1)])
    statistic = ((observed - expected) ** 2 / expected.clamp_min(1e-9)).sum()
    assert common.sum() > 40
    assert statistic < chi2.ppf(0.999, int(common.sum()))


def test_samples_hardly_depend_on_their_batch():
    model = random_model(dim=64, heads=4)
    _, labels = random_inputs(model, 96)
    uniforms, guidance = random_uniforms(96, 16), Guidance(scale=1.0)
    together = model.sample(labels, guidance, uniforms)
    for size in (1, 7, 32):
        parts = zip(labels.split(size), uniforms.split(size), strict=True)
        apart = torch.cat([model.sample(label, guidance, numbers) for label, numbers in parts])
        assert (apart != together).double().mean() <= LARGEST_CHANGE_WITH_BATCH


def test_samples_depend_on_their_own_label_and_numbers_only():
    model = random_model()
    labels, uniforms = random_inputs(model, 8)[1], random_uniforms(8, 16)
    before = model.sample(labels, Guidance(scale=1.0), uniforms)
    others = torch.arange(8) != 5
    labels[others], uniforms[others] = (labels[others] + 1) % 4, 1 - uniforms[others]
    after = model.sample(labels, Guidance(scale=1.0), uniforms)
    assert torch.equal(after[5], before[5])
    assert (after != before).any(dim=1).tolist() == others.tolist()


def test_sampled_codes_can_be_trained_on_and_every_weight_has_a_gradient():
    model = random_model(dropout=0.1).train()
    labels = torch.tensor([0, 1, 2, 3])
    codes = model.sample(labels, Guidance(), random_uniforms(4, 16))
    model.log_prob(codes, labels).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.any(), name


def test_dropout_follows_the_mode():
    model = random_model(dropout=0.3)
    codes, labels = random_inputs(model, 4)
    assert torch.equal(model.token_log_probs(codes, labels), model.token_log_probs(codes, labels))
    plain = random_model()
    assert torch.equal(model.token_log_probs(codes, labels), plain.token_log_probs(codes, labels))
    drops = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    calls = []
    for module in drops:
        module.register_forward_hook(lambda module, inputs, output: calls.append(module.p))
    model.train()
    assert not torch.equal(model.token_log_probs(codes, labels), model.token_log_probs(codes, labels))
    assert (
        calls == [0.3] * (1 + 2 * 2) * 2
    )  # embeddings, attention and feed-forward of two layers; two passes


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"dim": 10, "heads": 4}, "dim 10 is not divisible by heads 4"),
        ({"dim": 12, "heads": 2}, "dim / heads is 6"),
        ({"dim": 16, "heads": 2, "dropout": 1.0}, "dropout"),
        ({"dim": 16, "heads": 0}, "heads"),
        ({"dim": 16, "heads": 2, "depth": 3}, "unknown key 'depth'"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(sizes: dict, message: str):
    with pytest.raises(CCAError, match=message) as refusal:
        models.build("llamagen", {"layers": 1, **sizes}, grid(8, 9), 2)
    assert "\n" not in str(refusal.value)


def test_codes_must_be_a_square_grid():
    with pytest.raises(CCAError, match="square grid of codes"):
        models.build("llamagen", {"dim": 16, "layers": 1, "heads": 2}, grid(8, 10), 2)


def test_inputs_out_of_range_are_refused():
    model = random_model()
    codes, labels = random_inputs(model, 2)
    uniforms = random_uniforms(2, 16)
    for wrong in (-1, 4):
        with pytest.raises(CCAError, match=f"labels must be in 0..3, got {wrong}"):
            model.token_log_probs(codes, torch.tensor([0, wrong]))
        with pytest.raises(CCAError, match=f"labels must be in 0..3, got {wrong}"):
            model.sample(torch.tensor([0, wrong]), Guidance(), uniforms)
    for wrong in (-1, 11):
        codes[1, 3] = wrong
        with pytest.raises(CCAError, match=f"codes must be in 0..10, got {wrong}"):
            model.token_log_probs(codes, labels)
    for call in (
        lambda: model.token_log_probs(codes[:, :9], labels),
        lambda: model.token_log_probs(codes, labels[:1]),
        lambda: model.sample(labels, Guidance(), uniforms[:, :9]),
        lambda: model.sample(labels[:1], Guidance(), uniforms),
    ):
        with pytest.raises(CCAError, match="shape"):
            call()


def test_damaged_weights_are_noticed():
    model = random_model()
    with torch.no_grad():
        model.norm.weight[0] = math.nan
    with pytest.raises(CCAError, match="not finite"):
        model.sample(torch.tensor([0, 1]), Guidance(), random_uniforms(2, 16))
