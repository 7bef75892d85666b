"""The multi-scale tokenizer: scales, quantisation, and the official code's weights and numbers."""

import hashlib
import json
import zlib
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cca import plugins, tokenizers
from cca.errors import CCAError
from cca.tokenizers import multiscale

TINY = {
    "image_size": 5,
    "channels": 1,
    "base_channels": 4,
    "channel_multipliers": (1,),
    "blocks": 1,
    "norm_groups": 2,
    "z_channels": 3,
    "codebook_size": 19,
    "patch_sizes": (1, 2, 3, 5),
}


def build(**changes) -> multiscale.Model:
    torch.manual_seed(0)
    return tokenizers.build("multiscale", TINY | changes)


def identity_phis(tokenizer: multiscale.Model) -> multiscale.Quantizer:
    """The quantiser with phis that change nothing."""
    for phi in tokenizer.quantize.quant_resi["qresi_ls"]:
        torch.nn.init.dirac_(phi.weight)
        torch.nn.init.zeros_(phi.bias)
    return tokenizer.quantize


def images(count: int, tokenizer: multiscale.Model, seed: int = 1) -> torch.Tensor:
    size = tokenizer.image_size
    noise = torch.Generator().manual_seed(seed)
    return torch.rand(count, tokenizer.channels, size, size, generator=noise) * 2 - 1


def waves(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers in [-1, 1] that depend on a name and a shape only."""
    i = np.arange(1, np.prod(shape) + 1)
    return torch.from_numpy(np.sin(0.37 * i * i + zlib.crc32(name.encode()) % 1000).reshape(shape)).float()


def fill_with_waves(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = waves(name, parameter.shape)
            if parameter.dim() == 1:
                values = ("norm" in name and name.endswith("weight")) + 0.1 * values
            elif "embedding" not in name:
                values = values * (2 / parameter[0].numel()) ** 0.5
            parameter.copy_(values)


# Scales


def test_codes_are_of_all_scales_coarse_first():
    tokenizer = build()
    codes = tokenizer.encode(images(6, tokenizer))
    assert tokenizer.num_tokens == 1 + 4 + 9 + 25
    assert codes.shape == (6, 39) and codes.dtype == torch.int64
    assert codes.min() >= 0 and codes.max() < 19 and codes.unique().numel() > 3
    assert tokenizer.quantize.spans == [slice(0, 1), slice(1, 5), slice(5, 14), slice(14, 39)]
    assert tokenizer.decode(codes).shape == (6, 1, 5, 5)


def test_the_first_code_is_nearest_to_the_mean_of_the_latent_map():
    tokenizer = build()
    x = images(6, tokenizer)
    mean = tokenizer.quant_conv(tokenizer.encoder(x)).mean(dim=(2, 3))
    expected = torch.cdist(mean, tokenizer.quantize.embedding.weight).argmin(dim=1)
    assert torch.equal(tokenizer.encode(x)[:, 0], expected)


def test_each_image_is_encoded_by_itself():
    tokenizer = build()
    x = images(6, tokenizer)
    assert torch.equal(tokenizer.encode(x)[2:3], tokenizer.encode(x[2:3]))


@pytest.mark.parametrize(
    ("scales", "phis", "expected"),
    [  # from PhiPartiallyShared of the official code
        (10, 4, [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]),
        (5, 4, [0, 1, 2, 2, 3]),
        (5, 3, [0, 0, 1, 2, 2]),
        (6, 2, [0, 0, 0, 1, 1, 1]),
        (1, 4, [0]),
    ],
)
def test_which_phi_a_scale_uses(scales: int, phis: int, expected: list[int]):
    assert multiscale.phi_of_scales(scales, phis) == expected


def test_pooling_averages_cells_and_spreading_is_bicubic():
    quantizer = build(image_size=4, patch_sizes=(1, 2, 4)).quantize
    maps = torch.randn(2, 3, 4, 4)
    pooled = quantizer.pool(maps, 1)
    assert torch.allclose(pooled[1, 2], maps[1, :, 2:, :2].mean(dim=(1, 2)), atol=1e-6)  # row 1, column 0
    codes = torch.tensor([[3, 1, 4, 1]])
    entries = quantizer.embedding.weight[codes[0]].view(2, 2, 3).permute(2, 0, 1)[None]
    upsampled = F.interpolate(entries, size=(4, 4), mode="bicubic")
    phi = quantizer.quant_resi["qresi_ls"][quantizer.phi_of_scale[1]]
    expected = 0.5 * upsampled + 0.5 * F.conv2d(upsampled, phi.weight, phi.bias, padding=1)
    assert torch.allclose(quantizer.spread(codes, 1), expected, atol=1e-6)


# Quantisation


def test_a_representable_map_is_quantised_without_error():
    """Constant plus a pattern whose averages over the coarse cells vanish: codes and map come back."""
    quantizer = identity_phis(build(image_size=4, patch_sizes=(1, 2, 4)))
    with torch.no_grad():
        quantizer.embedding.weight.mul_(3)
        quantizer.embedding.weight[0] = 0
        quantizer.embedding.weight[2] = -quantizer.embedding.weight[1]
    checks = torch.tensor([[1, 2], [2, 1]]).repeat(2, 2).flatten()  # +e, -e in each cell of 2 x 2
    codes = torch.cat([torch.tensor([7]), torch.zeros(4, dtype=torch.int64), checks])[None]
    latent = quantizer.assemble(codes)
    assert torch.allclose(latent[0, :, 0, 1], quantizer.embedding.weight[7] + quantizer.embedding.weight[2])
    quantised, _, found = quantizer(latent)
    assert torch.equal(found, codes)
    assert torch.allclose(quantised, latent, atol=1e-6)


def test_the_residual_falls_with_every_scale():
    tokenizer = build(z_channels=2, codebook_size=41 * 41, image_size=7, patch_sizes=(1, 2, 3, 5, 7))
    quantizer = identity_phis(tokenizer)
    grid = torch.linspace(-2, 2, 41)
    quantizer.embedding.weight.data = torch.cartesian_prod(grid, grid)  # entries within 0.05 of anything
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 7), torch.linspace(-1, 1, 7), indexing="ij")
    latent = torch.stack([0.5 + rows + columns * rows, 0.2 - columns + rows**3])[None]
    rest, errors = latent, [latent.square().mean().item()]
    for _, _, part in quantizer.scales(latent):
        rest = rest - part
        errors.append(rest.square().mean().item())
    assert all(later < earlier for earlier, later in pairwise(errors)), errors
    assert errors[-1] < 0.05**2, errors


def test_training_pass_reconstructs_what_encode_and_decode_do():
    tokenizer = build().eval()
    x = images(4, tokenizer)
    reconstructed, _, codes = tokenizer(x)
    assert torch.equal(codes, tokenizer.encode(x))
    assert torch.allclose(reconstructed, tokenizer.decode(codes), atol=1e-5)


def test_loss_is_the_mean_over_scales_of_codebook_and_commitment_terms():
    quantizer = build(commitment=0.5).quantize
    latent = torch.randn(3, 3, 5, 5, requires_grad=True)
    _, loss, codes = quantizer(latent)
    errors = []
    for scale in range(4):
        sums = sum(quantizer.spread(codes[:, quantizer.spans[k]], k) for k in range(scale + 1))
        errors.append((sums - latent).square().mean())
    assert torch.allclose(loss, 1.5 * sum(errors) / 4, rtol=1e-5)
    (from_commitment,) = torch.autograd.grad(0.5 * sum(errors) / 4, latent)
    codebook = quantizer.embedding.weight
    (from_codebook,) = torch.autograd.grad(
        sum((sum_error(quantizer, codes, latent, k)) for k in range(4)) / 4, codebook
    )
    gradients = torch.autograd.grad(loss, [latent, codebook])
    assert torch.allclose(gradients[0], from_commitment, atol=1e-7)
    assert torch.allclose(gradients[1], from_codebook, atol=1e-6)


def sum_error(quantizer, codes: torch.Tensor, latent: torch.Tensor, scale: int) -> torch.Tensor:
    sums = sum(quantizer.spread(codes[:, quantizer.spans[k]], k) for k in range(scale + 1))
    return (sums - latent.detach()).square().mean()


def test_gradient_passes_straight_through():
    quantizer = build(commitment=0.0).quantize
    latent = torch.randn(2, 3, 5, 5, requires_grad=True)
    weights = torch.randn(2, 3, 5, 5)
    quantised, loss, _ = quantizer(latent)
    assert not torch.allclose(quantised, latent, atol=0.1)
    ((quantised * weights).sum() + loss).backward()
    assert torch.equal(latent.grad, weights)


def test_revive_moves_only_unused_entries_onto_quantised_vectors():
    tokenizer = build()
    before = tokenizer.quantize.embedding.weight.detach().clone()
    x = images(4, tokenizer)
    latent = tokenizer.quant_conv(tokenizer.encoder(x))
    candidates = torch.cat([v.flatten(0, 1) for v, _, _ in tokenizer.quantize.scales(latent)])
    unused = np.array([2, 11, 18])
    tokenizer.revive(x, unused, np.random.default_rng(0))
    after = tokenizer.quantize.embedding.weight
    kept = np.setdiff1d(np.arange(19), unused)
    assert torch.equal(after[kept], before[kept])
    assert torch.cdist(after[unused], candidates).amin(dim=1).max() < 1e-6
    assert (after[unused] - before[unused]).abs().amin(dim=1).min() > 0


# What VAR reads


def test_inputs_of_a_scale_are_the_pooled_sum_of_the_coarser_ones():
    tokenizer = build()
    quantizer = tokenizer.quantize
    codes = torch.randint(19, (3, 39), generator=torch.Generator().manual_seed(2))
    inputs = quantizer.teacher_inputs(codes)
    assert inputs.shape == (3, 38, 3) and not inputs.requires_grad
    only_two = quantizer.spread(codes[:, :1], 0) + quantizer.spread(codes[:, 1:5], 1)
    expected = F.adaptive_avg_pool2d(only_two, 3).permute(0, 2, 3, 1).reshape(3, 9, 3)
    assert torch.allclose(inputs[:, 4:13], expected, atol=1e-6)


def test_inputs_do_not_see_their_own_or_finer_scales():
    quantizer = build().quantize
    codes = torch.randint(19, (3, 39), generator=torch.Generator().manual_seed(2))
    changed = codes.clone()
    changed[:, 5:14] = (changed[:, 5:14] + 1) % 19  # third scale
    same = (quantizer.teacher_inputs(codes) == quantizer.teacher_inputs(changed)).all(dim=2)
    assert same[:, :13].all() and not same[:, 13:].any()


# The official code


def test_keys_and_shapes_are_those_of_vae_ch160v4096z32():
    """The official list without ``quantize.ema_vocab_hit_SV``, as a digest, and parts of it in the open."""
    values = {"image_size": 256, "channels": 3, "base_channels": 160, "channel_multipliers": (1, 1, 2, 2, 4)}
    with torch.device("meta"):
        state = tokenizers.build("multiscale", values).state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in state.items()}
    expected = {
        "encoder.down.4.attn.1.qkv.weight": [1920, 640, 1, 1],
        "encoder.down.2.block.0.nin_shortcut.weight": [320, 160, 1, 1],
        "encoder.down.3.downsample.conv.weight": [320, 320, 3, 3],
        "encoder.mid.attn_1.proj_out.bias": [640],
        "decoder.up.4.attn.2.norm.weight": [640],
        "decoder.up.1.upsample.conv.bias": [160],
        "decoder.up.0.block.2.conv2.weight": [160, 160, 3, 3],
        "decoder.conv_in.weight": [640, 32, 3, 3],
        "quant_conv.weight": [32, 32, 3, 3],
        "post_quant_conv.bias": [32],
        "quantize.embedding.weight": [4096, 32],
        "quantize.quant_resi.qresi_ls.3.weight": [32, 32, 3, 3],
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert len(shapes) == 323 and sum(tensor.numel() for tensor in state.values()) == 108_948_355
    digest = hashlib.sha256(json.dumps(sorted(map(list, shapes.items()))).encode()).hexdigest()
    assert digest.startswith("7bbf1f8c1222b885")


def test_numbers_of_the_official_code():
    """Literals made with FoundationVision/VAR at 78b9539 from the same weights and images."""
    values = {
        "image_size": 48,
        "channels": 3,
        "base_channels": 32,
        "channel_multipliers": (1, 1, 2, 2, 4),
        "z_channels": 4,
        "codebook_size": 24,
        "patch_sizes": (1, 2, 3),
    }
    tokenizer = tokenizers.build("multiscale", values).eval()
    fill_with_waves(tokenizer)
    x = waves("images", (2, 3, 48, 48))
    with torch.no_grad():
        codes = tokenizer.encode(x)
        decoded = tokenizer.decode(codes)
        _, loss, _ = tokenizer(x)
    assert codes.tolist() == [
        [12, 16, 15, 16, 16, 15, 19, 20, 19, 3, 19, 6, 19, 23],
        [16, 2, 12, 2, 12, 12, 7, 6, 2, 13, 12, 17, 13, 6],
    ]
    assert decoded[0, :, 7, 31].tolist() == pytest.approx([-1.216022, -0.665216, 1.337971], abs=1e-4)
    assert decoded[1, :, 7, 31].tolist() == pytest.approx([0.338977, -0.461710, 0.452877], abs=1e-4)
    assert decoded.mean().item() == pytest.approx(-0.041301, abs=1e-4)
    assert decoded.std().item() == pytest.approx(0.595986, abs=1e-4)
    inputs = tokenizer.quantize.teacher_inputs(codes)
    assert inputs[1, 0].tolist() == pytest.approx([-0.365116, 0.597160, 0.449135, -0.220372], abs=1e-5)
    assert inputs[1, 12].tolist() == pytest.approx([0.380452, 0.379215, 0.355709, -0.326725], abs=1e-5)
    assert loss.item() == pytest.approx(0.317896, abs=1e-5)


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_sizes": (1, 2, 3)}, "the last of patch_sizes is 3, not the latent map's side 5"),
        ({"patch_sizes": (1, 3, 2, 5)}, "do not increase"),
        ({"patch_sizes": ()}, "patch_sizes"),
        ({"patch_sizes": (0, 5)}, "patch_sizes"),
        ({"phis": 0}, "phis"),
        ({"image_size": 10}, "side 10"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(changes: dict, message: str):
    with pytest.raises(CCAError, match=message) as error:
        plugins.configure("cca.tokenizers", "multiscale", "Architecture", TINY | changes)
    assert "\n" not in str(error.value)


def test_wrong_images_and_codes_are_refused_in_one_line():
    tokenizer = build()
    with pytest.raises(CCAError, match=r"images of shape \(2, 1, 6, 5\)"):
        tokenizer.encode(torch.zeros(2, 1, 6, 5))
    with pytest.raises(CCAError, match=r"codes of shape \(2, 38\)"):
        tokenizer.decode(torch.zeros(2, 38, dtype=torch.int64))
    with pytest.raises(CCAError, match=r"code 19 is out of range 0..18"):
        tokenizer.decode(torch.full((2, 39), 19))
