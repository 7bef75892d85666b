"""LlamaGen's tokenizer: official names, the codebook, gradients, what is refused."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cca.errors import CCAError
from cca.settings import validate
from cca.tokenizers import build
from cca.tokenizers._codebook import nearest
from cca.tokenizers.vq import Architecture, Model, Quantizer

TINY = {
    "image_size": 8,
    "channels": 3,
    "base_channels": 4,
    "channel_multipliers": [1, 2],
    "blocks": 1,
    "z_channels": 6,
    "codebook_size": 16,
    "codebook_dim": 3,
    "norm_groups": 2,
}


def tiny(**changes) -> Model:
    torch.manual_seed(0)
    return build("vq", TINY | changes).eval()


def some_images(count: int = 4, channels: int = 3, size: int = 8) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


# ---- names and shapes of the official weights


def pair(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def residual(name: str, inputs: int, outputs: int) -> dict:
    keys = pair(f"{name}.norm1", inputs) | pair(f"{name}.conv1", outputs, inputs, 3, 3)
    keys |= pair(f"{name}.norm2", outputs) | pair(f"{name}.conv2", outputs, outputs, 3, 3)
    return keys | (pair(f"{name}.nin_shortcut", outputs, inputs, 1, 1) if inputs != outputs else {})


def attention(name: str, width: int) -> dict:
    keys = pair(f"{name}.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        keys |= pair(f"{name}.{part}", width, width, 1, 1)
    return keys


def official_vq16() -> dict[str, tuple[int, ...]]:
    """Written down from the official file; level by level, (inputs, outputs) of each residual block."""
    keys = pair("encoder.conv_in", 128, 3, 3, 3) | pair("decoder.conv_in", 512, 256, 3, 3)
    down = [
        [(128, 128), (128, 128)],
        [(128, 128), (128, 128)],
        [(128, 256), (256, 256)],
        [(256, 256), (256, 256)],
        [(256, 512), (512, 512)],
    ]
    up = [
        [(512, 512), (512, 512), (512, 512)],
        [(512, 256), (256, 256), (256, 256)],
        [(256, 256), (256, 256), (256, 256)],
        [(256, 128), (128, 128), (128, 128)],
        [(128, 128), (128, 128), (128, 128)],
    ]
    for half, levels, lowest, resample in (
        ("encoder", down, 4, "downsample"),
        ("decoder", up, 0, "upsample"),
    ):
        for i, blocks in enumerate(levels):
            for j, (inputs, outputs) in enumerate(blocks):
                keys |= residual(f"{half}.conv_blocks.{i}.res.{j}", inputs, outputs)
                if i == lowest:
                    keys |= attention(f"{half}.conv_blocks.{i}.attn.{j}", 512)
            if i < 4:
                width = blocks[-1][1]
                keys |= pair(f"{half}.conv_blocks.{i}.{resample}.conv", width, width, 3, 3)
        keys |= residual(f"{half}.mid.0", 512, 512) | attention(f"{half}.mid.1", 512)
        keys |= residual(f"{half}.mid.2", 512, 512)
    keys |= pair("encoder.norm_out", 512) | pair("encoder.conv_out", 256, 512, 3, 3)
    keys |= pair("decoder.norm_out", 128) | pair("decoder.conv_out", 3, 128, 3, 3)
    keys |= pair("quant_conv", 8, 256, 1, 1) | pair("post_quant_conv", 256, 8, 1, 1)
    return keys | {"quantize.embedding.weight": (16384, 8)}


def test_vq16_has_the_official_names_and_shapes():
    architecture = Architecture(
        image_size=256,
        channels=3,
        channel_multipliers=(1, 1, 2, 2, 4),
        z_channels=256,
        codebook_size=16384,
        codebook_dim=8,
    )
    with torch.device("meta"):
        model = Model(architecture)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes == official_vq16()
    assert sum(parameter.numel() for parameter in model.parameters()) == 71_883_403
    assert (model.num_tokens, model.vocab_size) == (256, 16384)


def made_up(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights that depend on the name and the shape only: sines, scaled by the fan-in."""
    count, start = math.prod(shape), sum(name.encode()) % 97
    waves = torch.sin(torch.arange(count, dtype=torch.float64) * 1.7 + start)
    if len(shape) == 1:
        return ("norm" in name and name.endswith("weight")) + 0.1 * waves.float()
    return (waves / math.sqrt(count / shape[0])).float().view(shape)


def test_codes_and_images_are_those_of_the_official_code():
    """Literals from LlamaGen ce98ec4: ``VQModel`` holding ``Encoder`` and ``Decoder`` with ch 32,
    ch_mult (1, 2), num_res_blocks 1, z_channels 8. The two nearest entries of a cell differ by at least 8e-5.
    """
    sizes = {"base_channels": 32, "norm_groups": 32, "z_channels": 8, "codebook_size": 32, "codebook_dim": 4}
    model = tiny(**sizes)
    model.load_state_dict({name: made_up(name, tuple(t.shape)) for name, t in model.state_dict().items()})
    images = torch.sin(torch.arange(2 * 3 * 8 * 8, dtype=torch.float64) * 0.37).float().view(2, 3, 8, 8)
    with torch.no_grad():
        codes = model.encode(images)
        decoded = model.decode(codes)
    assert codes.tolist() == [
        [28, 4, 4, 28, 24, 28, 4, 29, 4, 11, 16, 29, 4, 26, 1, 4],
        [27, 4, 4, 4, 27, 0, 4, 29, 29, 11, 3, 4, 4, 4, 26, 4],
    ]
    assert decoded[1, :, 3, 5].tolist() == pytest.approx([-0.1107052, 0.0784619, 0.3793803], abs=2e-5)
    assert decoded[0, 0, 1, :4].tolist() == pytest.approx(
        [-0.0546290, -0.1428401, -0.1228590, -0.3209398], abs=2e-5
    )
    assert decoded.mean().item() == pytest.approx(-0.0164101, abs=2e-5)
    assert decoded.square().mean().sqrt().item() == pytest.approx(0.1535959, abs=2e-5)


# ---- the codebook


def test_nearest_is_the_brute_force_argmin(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    vectors, codebook = torch.randn(50, 5, generator=generator), torch.randn(13, 5, generator=generator)
    brute = [
        int(np.argmin([((v - e) ** 2).sum() for e in codebook.double().numpy()]))
        for v in vectors.double().numpy()
    ]
    assert nearest(vectors, codebook).tolist() == brute
    monkeypatch.setattr("cca.tokenizers._codebook.LOOKUP_ELEMENTS", 40)  # three rows at a time
    assert nearest(vectors, codebook).tolist() == brute


def test_nearest_takes_the_first_of_equal_entries():
    assert nearest(
        torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    ).tolist() == [1]


def test_loss_is_codebook_plus_commitment_by_hand():
    quantizer = Quantizer(2, 2, commitment=0.25)
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.5]]))  # at unit length: the axes
    z = torch.tensor([[0.8, 0.6], [0.0, -1.0]], requires_grad=True)
    quantised, loss, codes = quantizer(z)
    # (-1 * 0.2, 0.6) -> .04 + .36 = .4; (0, -1) is as far from (1, 0) as 2, from (0, 1) as 4.
    assert codes.tolist() == [0, 0]
    assert quantised.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    mean = (0.4 + 2.0) / 4
    assert loss.item() == pytest.approx(1.25 * mean)
    loss.backward()
    # the commitment term alone reaches z: 0.25 * 2 (z - e) / 4
    assert z.grad.flatten().tolist() == pytest.approx([0.125 * v for v in (-0.2, 0.6, -1.0, -1.0)])
    # d/de of the codebook term is 2 (e - z) summed over both rows / 4 = (.6, .2); normalising (length 3)
    # keeps what is across e only
    assert quantizer.embedding.weight.grad.flatten().tolist() == pytest.approx(
        [0.0, 0.2 / 3, 0.0, 0.0], abs=1e-6
    )


def test_gradient_passes_straight_through_the_lookup():
    quantizer = Quantizer(8, 3, commitment=0.0)
    z = F.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(2)), dim=1).requires_grad_()
    upstream = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    quantizer(z)[0].backward(upstream)
    assert torch.equal(z.grad, upstream)
    assert quantizer.embedding.weight.grad is None


def test_reconstruction_error_trains_the_encoder():
    model = tiny(commitment=0.0).train()
    images = some_images()
    F.mse_loss(model(images)[0], images).backward()
    assert model.encoder.conv_in.weight.grad.abs().max() > 0
    assert model.quantize.embedding.weight.grad is None


def test_decoding_the_codes_is_the_reconstruction():
    model, images = tiny(), some_images()
    with torch.no_grad():
        reconstruction, _, codes = model(images)
        assert torch.equal(model.encode(images), codes)
        assert codes.shape == (4, 16) and codes.dtype == torch.int64
        assert reconstruction.shape == images.shape
        torch.testing.assert_close(model.decode(codes), reconstruction, rtol=0, atol=1e-5)


def test_codes_lie_in_raster_order():
    """A change in one corner of the code map changes that corner of the image most."""
    model = tiny(channel_multipliers=[1, 2], image_size=16)
    codes = torch.zeros(1, 64, dtype=torch.int64)
    changed = codes.clone()
    changed[0, 7] = 5  # first row, last column
    with torch.no_grad():
        difference = (model.decode(changed) - model.decode(codes)).abs().sum(dim=(0, 1))
    corners = {
        "top left": difference[:4, :4],
        "top right": difference[:4, -4:],
        "low left": difference[-4:, :4],
    }
    assert max(corners, key=lambda name: corners[name].sum()) == "top right"


def test_revive_moves_the_unused_entries_only_and_onto_encoder_outputs():
    model, images = tiny(), some_images()
    before = model.quantize.embedding.weight.detach().clone()
    unused = np.array([1, 4, 15])
    model.revive(images, unused, np.random.default_rng(0))
    after = model.quantize.embedding.weight.detach()
    moved = (before != after).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [1, 4, 15]
    with torch.no_grad():
        outputs = F.normalize(
            model.quant_conv(model.encoder(images)).permute(0, 2, 3, 1).reshape(-1, 3), dim=1
        )
    distances = (after[unused][:, None] - outputs).norm(dim=-1)
    assert distances.amin(dim=1).max() < 1e-5
    assert len(set(distances.argmin(dim=1).tolist())) == 3


def test_revive_with_fewer_outputs_than_entries():
    model = tiny(codebook_size=64)
    before = model.quantize.embedding.weight.detach().clone()
    model.revive(some_images(1), np.arange(64), np.random.default_rng(0))
    assert (model.quantize.embedding.weight != before).any(dim=1).all()


# ---- mistakes


@pytest.mark.parametrize(
    "shape", [(2, 3, 16, 16), (2, 1, 8, 8), (3, 8, 8)], ids=["size", "channels", "one image"]
)
@pytest.mark.parametrize("method", ["encode", "forward"])
def test_images_of_another_shape_are_refused(shape, method):
    with pytest.raises(CCAError, match=r"images of shape .* where \(B, 3, 8, 8\) is wanted") as error:
        getattr(tiny(), method)(torch.zeros(shape))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [-1, 16])
def test_codes_out_of_range_are_refused(wrong):
    codes = torch.zeros(2, 16, dtype=torch.int64)
    codes[1, 3] = wrong
    with pytest.raises(CCAError, match=rf"code {wrong} is out of range 0\.\.15$"):
        tiny().decode(codes)


@pytest.mark.parametrize("codes", [torch.zeros(2, 9, dtype=torch.int64), torch.zeros(2, 16), torch.zeros(16)])
def test_codes_of_another_shape_or_type_are_refused(codes):
    with pytest.raises(CCAError, match=r"where integers \(B, 16\) are wanted$"):
        tiny().decode(codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 9}, "image_size 9 is not divisible by 2"),
        ({"norm_groups": 3}, "4 channels is not divisible by norm_groups 3"),
        ({"channel_multipliers": []}, "channel_multipliers"),
        ({"channel_multipliers": [1, 0]}, "channel_multipliers.1"),
        ({"codebook_size": 1}, "codebook_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"commitment": -0.1}, "commitment"),
        ({"codebook": 4}, "unknown key 'codebook'"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(CCAError, match=message) as error:
        validate(Architecture, TINY | changes, "tier.yaml")
    assert "\n" not in str(error.value)
