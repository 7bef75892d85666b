"""VAR: official layout and numbers, causality over scales, cached decoding, guidance, sampling."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cca import models, plugins, tokenizers
from cca.decoding import choose_tokens
from cca.errors import CCAError
from cca.guidance import Guidance
from cca.models import var

SIZES = {"depth": 3, "dim": 24, "heads": 2}
LINEAR = Guidance(scale=2.0, schedule="linear")


def tiny_tokenizer(*patch_sizes: int, vocab: int = 11) -> tokenizers.Tokenizer:
    sizes = {
        "image_size": patch_sizes[-1],
        "channels": 1,
        "base_channels": 4,
        "channel_multipliers": (1,),
        "blocks": 1,
        "norm_groups": 2,
        "z_channels": 3,
        "codebook_size": vocab,
        "patch_sizes": patch_sizes,
    }
    torch.manual_seed(0)
    return tokenizers.build("multiscale", sizes).eval()


def random_model(*patch_sizes: int, vocab: int = 11, classes: int = 3, **sizes: float) -> var.Model:
    """A model whose weights are large enough to make everything depend on everything, in eval mode."""
    tokenizer = tiny_tokenizer(*(patch_sizes or (1, 2, 3, 4)), vocab=vocab)
    model = models.build("var", SIZES | sizes, tokenizer, classes)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            scale = 0.5 if weight.dim() != 2 else 1.5 * weight.shape[-1] ** -0.5
            weight.copy_(scale * torch.randn(weight.shape, generator=rng))
    return model.eval()


def random_inputs(model: var.Model, count: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    codes = torch.randint(model.vocab_size, (count, model.num_tokens), generator=rng)
    return codes, torch.randint(model.num_classes + 1, (count,), generator=rng)


def random_uniforms(count: int, model: var.Model) -> Tensor:
    rng = torch.Generator().manual_seed(2)
    return torch.rand(count, model.num_tokens, dtype=torch.float64, generator=rng)


def head_outputs(model: var.Model, run) -> list[Tensor]:
    """What the output layer gave, pass by pass, while ``run`` ran."""
    outputs = []
    hook = model.head.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        with torch.no_grad():
            run()
    finally:
        hook.remove()
    return outputs


def forced_logits(model: var.Model, codes: Tensor, labels: Tensor) -> Tensor:
    """Logits (B, L, V) of one teacher-forced pass."""
    return head_outputs(model, lambda: model.token_log_probs(codes, labels))[0]


# Log-probabilities


def test_teacher_forced_and_cached_log_probabilities_agree():
    model = random_model()
    labels = torch.tensor([0, 1, 2, 3, 1])
    drawn = []
    steps = head_outputs(
        model, lambda: drawn.append(model.sample(labels, Guidance(), random_uniforms(5, model)))
    )
    cached = torch.cat(steps, dim=1).log_softmax(dim=-1).gather(2, drawn[0].unsqueeze(2)).squeeze(2)
    forced = model.token_log_probs(drawn[0], labels)
    assert forced.shape == (5, 30) and forced.dtype == torch.float32
    assert forced.std() > 0.5
    assert torch.allclose(forced, cached, atol=1e-4)
    assert torch.allclose(model.log_prob(drawn[0], labels), cached.sum(dim=1), atol=1e-3)


def test_a_code_changes_nothing_at_its_own_or_coarser_scales():
    model = random_model()
    codes, labels = random_inputs(model, 4)
    before = forced_logits(model, codes, labels)
    for scale, span in enumerate(model.spans):
        for position in (span.start, span.stop - 1):
            changed = codes.clone()
            changed[:, position] = (changed[:, position] + 1) % model.vocab_size
            difference = (forced_logits(model, changed, labels) - before).abs().amax(dim=2)
            assert difference[:, : span.stop].max() < 1e-5, scale
            for finer in model.spans[scale + 1 :]:
                assert (difference[:, finer].amax(dim=1) > 1e-3).all(), (scale, position)


def test_all_codes_of_a_scale_see_each_other_s_inputs():
    """Within a scale attention is not causal: the last cell's input reaches the first cell."""
    model = random_model(1, 2, 4)
    codes, labels = random_inputs(model, 2)
    inputs = model.quantizer.teacher_inputs(codes)
    before = forced_logits(model, codes, labels)
    inputs[:, 3] += 1  # the last cell of the second scale
    model.quantizer.teacher_inputs = lambda codes: inputs
    difference = (forced_logits(model, codes, labels) - before).abs().amax(dim=2)
    assert difference[:, 0].max() == 0 and difference[:, 1:].min() > 1e-4


def test_probabilities_of_all_images_sum_to_one():
    model = random_model(1, 2, vocab=3)
    codes = torch.tensor(list(itertools.product(range(3), repeat=5)))
    for label in range(4):
        log_prob = model.log_prob(codes, torch.full((len(codes),), label))
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_queries_are_scaled_by_a_hundred_at_most():
    model = random_model()
    codes, labels = random_inputs(model, 2)
    results = []
    for exponent in (math.log(50), math.log(100), 6.0):
        for block in model.blocks:
            torch.nn.init.constant_(block.attn.scale_mul_1H11, exponent)
        results.append(model.log_prob(codes, labels))
    assert torch.equal(results[1], results[2]) and not torch.allclose(results[0], results[1])


def test_every_label_matters():
    model = random_model()
    codes, _ = random_inputs(model, 1)
    log_prob = model.log_prob(codes.repeat(4, 1), torch.arange(4))
    assert log_prob.unique().numel() == 4


def test_bfloat16_products_change_little():
    model = random_model()
    codes, labels = random_inputs(model, 4)
    exact = model.token_log_probs(codes, labels)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.token_log_probs(codes, labels)
        drawn = model.sample(labels.clamp(max=2), LINEAR, random_uniforms(4, model))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().mean() < 0.05
    same = drawn == model.sample(labels.clamp(max=2), LINEAR, random_uniforms(4, model))
    assert same[:, :5].float().mean() > 0.8


# Sampling


def record_batches(model: var.Model, guidance: Guidance) -> list[tuple[int, int]]:
    """(batch size, tokens) of every pass that sampling three images takes."""
    sizes = []
    hook = model.blocks[0].register_forward_pre_hook(
        lambda module, inputs: sizes.append(tuple(inputs[0].shape[:2]))
    )
    model.sample(torch.tensor([0, 1, 2]), guidance, random_uniforms(3, model))
    hook.remove()
    return sizes


def test_guidance_free_runs_one_half():
    model = random_model()
    assert model.num_steps == 4
    assert record_batches(model, Guidance()) == [(3, 1), (3, 4), (3, 9), (3, 16)]
    assert record_batches(model, Guidance(scale=0.0, schedule="linear")) == [(3, 1), (3, 4), (3, 9), (3, 16)]
    assert record_batches(model, LINEAR) == [(6, 1), (6, 4), (6, 9), (6, 16)]


def test_guidance_ramps_over_the_scales():
    assert LINEAR.scales(random_model().num_steps) == pytest.approx([0, 2 / 3, 4 / 3, 2])
    assert Guidance(scale=2.0).scales(4) == [2, 2, 2, 2]


def test_scale_zero_is_guidance_free_bit_for_bit():
    model = random_model()
    labels, uniforms = torch.tensor([0, 1, 2]), random_uniforms(3, model)
    free = model.sample(labels, Guidance(), uniforms)
    assert torch.equal(model.sample(labels, Guidance(scale=0.0, schedule="linear"), uniforms), free)
    assert torch.equal(model.sample(labels, Guidance(), uniforms), free)
    assert not torch.equal(model.sample(labels, LINEAR, uniforms), free)


@pytest.mark.parametrize("guidance", [LINEAR, Guidance(scale=1.5), Guidance(scale=3, top_k=5, top_p=0.8)])
def test_guidance_is_the_formula_on_two_separate_passes(guidance: Guidance):
    """What was drawn is what ``l_c + s_k (l_c - l_u)`` of two teacher-forced passes gives."""
    model = random_model()
    labels, uniforms = torch.tensor([0, 1, 2, 1]), random_uniforms(4, model)
    codes = model.sample(labels, guidance, uniforms)
    conditional = forced_logits(model, codes, labels)
    unconditional = forced_logits(model, codes, torch.full_like(labels, model.num_classes))
    ramp = torch.tensor(guidance.scales(4)).repeat_interleave(torch.tensor([1, 4, 9, 16]))[:, None]
    guided = conditional + ramp * (conditional - unconditional)
    assert torch.equal(choose_tokens(guided, uniforms, guidance), codes)
    assert not torch.equal(choose_tokens(conditional, uniforms, guidance), codes)


def test_frequencies_are_the_probabilities():
    """Evenly spaced uniforms draw the first code as often as it is likely, to within one image."""
    model = random_model(1, 2)
    count = 1000
    uniforms = random_uniforms(count, model)
    uniforms[:, 0] = (torch.arange(count) + 0.5) / count
    labels = torch.full((count,), 2)
    codes = model.sample(labels, Guidance(), uniforms)
    likely = forced_logits(model, codes[:1], labels[:1])[0, 0].softmax(dim=-1)
    assert torch.bincount(codes[:, 0], minlength=11).tolist() == pytest.approx(
        (count * likely).tolist(), abs=1
    )


def test_an_image_does_not_depend_on_its_batch():
    model = random_model()
    labels, uniforms = torch.tensor([0, 1, 2, 3, 0]), random_uniforms(5, model)
    together = model.sample(labels, LINEAR, uniforms)
    alone = [model.sample(labels[i : i + 1], LINEAR, uniforms[i : i + 1]) for i in range(5)]
    assert torch.equal(together, torch.cat(alone))


def test_a_single_scale_needs_no_inputs_from_the_tokenizer():
    model = random_model(3)
    codes, labels = random_inputs(model, 2)
    assert model.num_steps == 1
    assert model.token_log_probs(codes, labels).shape == (2, 9)
    assert model.sample(labels, LINEAR, random_uniforms(2, model)).shape == (2, 9)


# Weights


def test_untrained_weights_are_the_official_ones():
    torch.manual_seed(1)
    model = models.build("var", {"depth": 4, "dim": 96, "heads": 4}, tiny_tokenizer(1, 2, 3), 10)
    std = (3 * 96) ** -0.5
    block = model.blocks[2]
    expected = {
        model.class_emb.weight: std,
        model.pos_1LC: std,
        block.attn.mat_qkv.weight: std,
        block.attn.proj.weight: std / 8**0.5,
        block.ffn.fc1.weight: std,
        block.ffn.fc2.weight: std / 8**0.5,
        block.ada_lin[1].weight[:192]: std * 1e-5,
        block.ada_lin[1].weight[192:]: std * 0.5,
        model.head_nm.ada_lin[1].weight: std * 0.5,
        model.head.weight: std * 0.02,
    }
    for weight, deviation in expected.items():
        assert weight.std().item() == pytest.approx(deviation, rel=0.15)
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 4 * 6 + 3 and all(not bias.any() for bias in biases)
    assert torch.allclose(block.attn.scale_mul_1H11, torch.tensor(4.0).log())
    codes, labels = random_inputs(model, 2)
    assert model.log_prob(codes, labels).tolist() == pytest.approx([-14 * math.log(11)] * 2, rel=0.01)


def test_the_tokenizer_follows_the_model_but_is_no_part_of_it():
    model = random_model()
    state = model.state_dict()
    assert not any("quant" in name or "embedding.weight" in name for name in state)
    codes, labels = random_inputs(model, 2)
    before = model.log_prob(codes, labels)
    model.double()
    assert model.quantizer.embedding.weight.dtype == torch.float64
    assert torch.allclose(model.log_prob(codes, labels), before, atol=1e-3)
    model.log_prob(codes, labels).sum().backward()
    assert all(parameter.grad is None for parameter in model.quantizer.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_checkpoint_comes_back_the_same(tmp_path: Path):
    model = random_model()
    codes, labels = random_inputs(model, 2)
    tokenizer = tiny_tokenizer(1, 2, 3, 4)
    models.save(tmp_path / "m.safetensors", model, tokenizer, "var", SIZES)
    loaded = models.load(tmp_path / "m.safetensors", tokenizer)
    assert torch.equal(loaded.log_prob(codes, labels), model.log_prob(codes, labels))


def test_stochastic_depth_is_in_training_only():
    model = random_model(drop_path=0.8)
    assert [block.drop_path for block in model.blocks] == pytest.approx([0, 0.4, 0.8])
    gate = torch.ones(1000, 1, 24)
    assert torch.equal(model.blocks[2]._drop(gate), gate)
    model.train()
    kept = model.blocks[2]._drop(gate)
    assert torch.equal(kept, kept[:, :, :1].expand_as(kept))  # a whole image or nothing of it
    assert torch.equal(kept.unique(), torch.tensor([0, 1 / (1 - 0.8)]))
    assert (kept > 0).float().mean().item() == pytest.approx(0.2, abs=0.05)
    codes, labels = random_inputs(model, 8)
    assert not torch.equal(model.log_prob(codes, labels), model.log_prob(codes, labels))
    model.eval()
    assert torch.equal(model.log_prob(codes, labels), model.log_prob(codes, labels))


# What is refused


def test_impossible_sizes_are_refused_in_one_line():
    for changes, message in (
        ({"heads": 5}, "dim 24 is not divisible by heads 5"),
        ({"depth": 0}, "depth"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"layers": 3}, "unknown key 'layers'"),
    ):
        with pytest.raises(CCAError, match=message) as error:
            plugins.configure("cca.models", "var", "Architecture", SIZES | changes)
        assert "\n" not in str(error.value)


def test_another_kind_of_tokenizer_is_refused_in_one_line():
    sizes = {
        "image_size": 4,
        "channels": 1,
        "base_channels": 4,
        "channel_multipliers": (1,),
        "norm_groups": 2,
    }
    vq = tokenizers.build("vq", sizes | {"z_channels": 3, "codebook_size": 11, "codebook_dim": 3})
    with pytest.raises(CCAError, match="var needs a tokenizer of kind 'multiscale', not 'vq'"):
        models.build("var", SIZES, vq, 3)


def test_wrong_inputs_are_refused_in_one_line():
    model = random_model()
    codes, labels = random_inputs(model, 2)
    uniforms = random_uniforms(2, model)
    with pytest.raises(CCAError, match=r"codes have shape \(2, 29\), not \(2, 30\)"):
        model.token_log_probs(codes[:, :-1], labels)
    with pytest.raises(CCAError, match=r"codes must be in 0..10, got 11"):
        model.token_log_probs(torch.full_like(codes, 11), labels)
    with pytest.raises(CCAError, match=r"labels must be in 0..3, got -1"):
        model.token_log_probs(codes, torch.tensor([0, -1]))
    with pytest.raises(CCAError, match=r"labels must be in 0..3, got 4"):
        model.sample(torch.tensor([0, 4]), Guidance(), uniforms)
    with pytest.raises(CCAError, match=r"uniforms have shape \(2, 29\), not \(2, 30\)"):
        model.sample(labels, Guidance(), uniforms[:, :-1])
    model.head.bias.data[0] = torch.nan
    with pytest.raises(CCAError, match="not finite"):
        model.sample(labels, Guidance(), uniforms)
