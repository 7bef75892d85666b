"""The VAR family against numbers that the official code gave on the same weights."""

import hashlib
import json
import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from cca import models, tokenizers
from cca.guidance import Guidance
from cca.models import var


def test_keys_and_shapes_are_those_of_var_d16():
    """The official list as a digest, and parts of it in the open."""
    architecture = {"image_size": 256, "channels": 3, "base_channels": 160}
    with torch.device("meta"):
        tokenizer = tokenizers.build(
            "multiscale", architecture | {"channel_multipliers": (1, 1, 2, 2, 4), "blocks": 2}
        )
        model = models.build("var", {"depth": 16, "dim": 1024, "heads": 16}, tokenizer, 1000)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    block = {
        "attn.scale_mul_1H11": [1, 16, 1, 1],
        "attn.q_bias": [1024],
        "attn.v_bias": [1024],
        "attn.zero_k_bias": [1024],
        "attn.mat_qkv.weight": [3072, 1024],
        "attn.proj.weight": [1024, 1024],
        "attn.proj.bias": [1024],
        "ffn.fc1.weight": [4096, 1024],
        "ffn.fc1.bias": [4096],
        "ffn.fc2.weight": [1024, 4096],
        "ffn.fc2.bias": [1024],
        "ada_lin.1.weight": [6144, 1024],
        "ada_lin.1.bias": [6144],
    }
    expected = {
        "pos_start": [1, 1, 1024],
        "pos_1LC": [1, 680, 1024],
        "lvl_1L": [1, 680],
        "attn_bias_for_masking": [1, 1, 680, 680],
        "word_embed.weight": [1024, 32],
        "word_embed.bias": [1024],
        "class_emb.weight": [1001, 1024],
        "lvl_embed.weight": [10, 1024],
        "head_nm.ada_lin.1.weight": [2048, 1024],
        "head_nm.ada_lin.1.bias": [2048],
        "head.weight": [4096, 1024],
        "head.bias": [4096],
        **{f"blocks.{index}.{name}": shape for index in range(16) for name, shape in block.items()},
    }
    assert shapes == expected
    assert model.lvl_1L.dtype == torch.int64
    assert sum(parameter.numel() for parameter in model.parameters()) == 310_283_520
    digest = hashlib.sha256(json.dumps(sorted(map(list, shapes.items()))).encode()).hexdigest()
    assert digest.startswith("d1a89666fe31361f")
    attention = {f"blocks.{index}.attn.scale_mul_1H11" for index in range(16)}
    assert model.undecayed == {"pos_start", "pos_1LC", "lvl_embed.weight"} | attention  # VAR's train.py


def waves(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-1, 1] that depend on a name and a shape only."""
    i = np.arange(1, np.prod(shape) + 1)
    return torch.from_numpy(np.sin(0.37 * i * i + zlib.crc32(name.encode()) % 1000).reshape(shape)).float()


def fill_with_waves(module: torch.nn.Module) -> None:
    unit = ("embedding", "class_emb", "lvl_embed", "pos_")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = waves(name, parameter.shape)
            if "scale_mul" in name:
                values = 1.5 + values
            elif parameter.dim() == 1:
                values = ("norm" in name and name.endswith("weight")) + 0.1 * values
            elif not any(part in name for part in unit):
                values = values * (2 / parameter[0].numel()) ** 0.5
            parameter.copy_(values)


def official_twin(**sizes: bool) -> var.Model:
    architecture = {"image_size": 3, "channels": 3, "base_channels": 32, "channel_multipliers": (1,)}
    tokenizer = tokenizers.build(
        "multiscale", architecture | {"z_channels": 4, "codebook_size": 24, "patch_sizes": (1, 2, 3)}
    )
    fill_with_waves(tokenizer)
    model = models.build("var", {"depth": 2, "dim": 32, "heads": 2, **sizes}, tokenizer, 10)
    fill_with_waves(model)
    return model.eval()


CODES = torch.tensor(
    [
        [12, 16, 15, 16, 16, 15, 19, 20, 19, 3, 19, 6, 19, 23],
        [16, 2, 12, 2, 12, 12, 7, 6, 2, 13, 12, 17, 13, 6],
    ]
)


def test_log_probabilities_of_the_official_code():
    log_probs = official_twin().token_log_probs(CODES, torch.tensor([3, 10]))[:, ::3]
    first = [-6.06393, -0.89771, -5.79946, -2.22780, -3.43767]  # by FoundationVision/VAR at 78b9539
    second = [-7.19402, -6.06925, -4.70867, -2.64746, -1.95144]
    assert log_probs[0].tolist() == pytest.approx(first, abs=5e-5)
    assert log_probs[1].tolist() == pytest.approx(second, abs=5e-5)


@pytest.mark.parametrize(
    ("guidance", "expected"),
    [  # drawn by the official loop at 78b9539, with this project's rule for choosing tokens
        (
            Guidance(),
            [
                [19, 19, 0, 16, 4, 23, 9, 2, 2, 6, 23, 0, 14, 0],
                [7, 23, 13, 23, 17, 2, 7, 2, 23, 7, 2, 2, 2, 16],
            ],
        ),
        (
            Guidance(scale=2.0, schedule="linear"),
            [
                [19, 19, 0, 16, 4, 23, 9, 2, 2, 2, 23, 0, 13, 1],
                [7, 23, 5, 23, 23, 2, 5, 2, 2, 2, 2, 2, 2, 2],
            ],
        ),
        (
            Guidance(scale=2.0, schedule="linear", top_k=7, top_p=0.9),
            [
                [11, 19, 0, 16, 4, 5, 9, 9, 2, 2, 23, 0, 13, 2],
                [0, 23, 7, 23, 23, 2, 14, 2, 2, 14, 2, 2, 14, 11],
            ],
        ),
    ],
)
def test_samples_of_the_official_code(guidance: Guidance, expected: list[list[int]]):
    model = official_twin()
    uniforms = ((waves("uniforms", (2, 14)) + 1).double() / 2).clamp(max=0.999999)
    assert model.sample(torch.tensor([3, 7]), guidance, uniforms).tolist() == expected
