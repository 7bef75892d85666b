"""The cost of sampling: counts against counts by hand; of the times only that they are there."""

import pytest
import torch

from cca import models, tokenizers
from cca.files import read_json
from cca.guidance import Guidance
from cca.stages.cost import CostSettings, count, run


@pytest.fixture(scope="module")
def costs(world, tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("cost") / "cost.json"
    settings = CostSettings(batch_size=6, repetitions=2, scale=2.0)
    run(settings, model=world.model, tokenizer=world.tokenizer, out=out)
    return read_json(out)


def test_guidance_takes_two_forward_passes_a_step(world, costs: dict) -> None:
    model = models.load(world.model, tokenizers.load(world.tokenizer))
    assert costs["guidance_free"]["passes_per_image"] == model.num_steps == 16
    assert costs["guided"]["passes_per_image"] == 2 * model.num_steps
    assert (costs["guidance_free"]["s"], costs["guided"]["s"]) == (0, 2)
    assert costs["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_flops_are_those_of_the_matrix_products(costs: dict) -> None:
    # 16 steps of two layers (queries, keys, values; output; feed-forward of width 48) and of 12 logits, and
    # in each layer the t-th step's query with t keys, then its weights with t values.
    products = 16 * (2 * (16 * 48 + 16 * 16 + 3 * 16 * 48) + 16 * 12) + 2 * 2 * 16 * sum(range(1, 17))
    assert costs["guidance_free"]["flops_per_image"] == 2 * products
    assert costs["guided"]["flops_per_image"] == 4 * products


def test_times_are_medians_between_extremes(costs: dict) -> None:
    for name in ("guidance_free", "guided"):
        low, middle, high = (costs[name][f"images_per_second{end}"] for end in ("_min", "", "_max"))
        assert 0 < low <= middle <= high
    assert 0 < costs["time_ratio"]["min"] <= costs["time_ratio"]["median"] <= costs["time_ratio"]["max"]


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_step_of_many_tokens_is_one_pass(schedule: str) -> None:
    sizes = {"image_size": 4, "channels": 1, "base_channels": 4, "channel_multipliers": [1], "blocks": 1}
    sizes |= {"norm_groups": 2, "z_channels": 3, "codebook_size": 11, "patch_sizes": [1, 2, 4]}
    tokenizer = tokenizers.build("multiscale", sizes)
    model = models.build("var", {"depth": 2, "dim": 8, "heads": 2}, tokenizer, 3).eval()
    labels, uniforms = torch.tensor([0, 1, 2, 0, 1]), torch.rand(5, 1 + 4 + 16)
    for scale, passes in ((0.0, 3), (2.0, 6)):
        guidance = Guidance(scale=scale, schedule=schedule)
        counted = count(model, lambda guidance=guidance: model.sample(labels, guidance, uniforms), 5)
        assert counted["passes_per_image"] == passes
