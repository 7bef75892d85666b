"""Our networks against what the official code gave, on the same weights, at the official resolutions.

Tolerances: the two sides sum the same float32 numbers in other orders. On one machine they differ by
less than 2e-6 of a log-likelihood; 1e-4 leaves room for another machine's kernels. Codes are identical, whose
nearest and second nearest entries are farther apart than that. Gradients are held by norm and by one product
a parameter, to 1e-3: they are sums over all tokens, of terms of both signs, which lose digits. Decoded images
are in [-1, 1], where 1e-4 is an eightieth of a step of uint8.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cca import models, objectives, plugins, tokenizers
from cca.checkpoints import shapes
from cca.data.crops import random_crop, ten_crops
from cca.guidance import Guidance
from cca.models import ARModel
from cca.stages.sampling import PostProcessing, to_uint8
from cca.tokenizers import Tokenizer

Read = Callable[[str], dict[str, np.ndarray]]


def coder(family: str, formula: ModuleType) -> Tokenizer:
    """The tokenizer of the family's codes: LlamaGen's at 384 pixels, of which only the sizes are needed."""
    if family == "var":
        return formula.fill(tokenizers.build("multiscale", formula.VAE))
    with torch.device("meta"):
        return tokenizers.build("vq", formula.VQ)


def model(family: str, formula: ModuleType, salt: str = "") -> ARModel:
    sizes = {"llamagen": formula.LLAMAGEN, "var": formula.VAR}[family]
    return formula.fill(models.build(family, sizes, coder(family, formula), formula.CLASSES), salt)


def tokens(family: str, formula: ModuleType) -> Tensor:
    return formula.codes(family, 4, {"llamagen": 576, "var": 680}[family], 256)


@pytest.mark.parametrize("family", ["llamagen", "var"])
def test_log_likelihoods_of_every_token(family: str, golden: Read, formula: ModuleType) -> None:
    with torch.no_grad():
        ours = model(family, formula).token_log_probs(tokens(family, formula), torch.tensor(formula.LABELS))
    np.testing.assert_allclose(ours, golden(family)["log_probs"], rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "schedule", "scale"),
    [("llamagen", "constant", 0), ("llamagen", "constant", 1), ("var", "linear", 0), ("var", "linear", 1.5)],
)
def test_greedy_decoding(family: str, schedule: str, scale: float, golden: Read, formula: ModuleType) -> None:
    """VAR's images too, as the official sampling script writes them."""
    network = model(family, formula)
    guidance = Guidance(scale=scale, schedule=schedule, top_k=1)
    uniforms = torch.full((2, network.num_tokens), 0.5)
    codes = network.sample(torch.tensor(formula.LABELS[:2]), guidance, uniforms)
    np.testing.assert_array_equal(codes, golden(family)[f"greedy_s={scale:g}"])
    if family == "var":
        with torch.no_grad():
            images = coder(family, formula).decode(codes)
        pixels = to_uint8(images, PostProcessing(rounding="floor"))[:, ::11, ::11]
        official = golden(family)[f"pixels_s={scale:g}"]
        differ = np.abs(pixels.astype(int) - official)
        assert differ.max() <= 1 and (differ > 0).mean() < 1e-3  # a float on either side of a whole number


@pytest.mark.parametrize("objective", ["cca", "dpo", "unlearn"])
@pytest.mark.parametrize("family", ["llamagen", "var"])
def test_losses_and_their_gradients(family: str, objective: str, golden: Read, formula: ModuleType) -> None:
    """Of a batch with true negatives, a masked pair and one whose two labels are the same."""
    policy, reference = model(family, formula), model(family, formula, "reference ")
    labels, negatives = torch.tensor(formula.LABELS), torch.tensor(formula.NEGATIVES)
    batch, sides = tokens(family, formula).repeat(2, 1), torch.cat([labels, negatives])
    with torch.no_grad():
        frozen = reference.log_prob(batch, sides)
    g = policy.log_prob(batch, sides) - frozen
    parameters = {
        "cca": {"beta": formula.BETA, "lam": formula.LAM},
        "dpo": {"beta": formula.BETA},
        "unlearn": {"lam": formula.LAM},
    }[objective]
    loss = objectives.bind({"name": objective, **parameters})(g[:4], g[4:], labels == negatives).mean()
    loss.backward()
    official = golden(family)
    assert loss.item() == pytest.approx(float(official[f"{objective}_loss"]), rel=1e-4)
    ours, theirs = formula.gradients(policy), official[f"{objective}_gradients"]
    assert len(ours) == len(theirs) == len(list(policy.parameters()))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * theirs[:, 0].mean())


@pytest.mark.parametrize(("kind", "sizes"), [("vq", "VQ"), ("multiscale", "VAE")])
def test_tokenizers_encode_and_decode(kind: str, sizes: str, golden: Read, formula: ModuleType) -> None:
    tokenizer = formula.fill(tokenizers.build(kind, getattr(formula, sizes)))
    with torch.no_grad():
        codes = tokenizer.encode(formula.picture(tokenizer.image_size))
        decoded = tokenizer.decode(codes)
    official = golden(kind)
    np.testing.assert_array_equal(codes, official["codes"])
    shown = decoded[0, :, ::13, ::13]
    if kind == "multiscale":  # the official code clamps here, we where pixels are made
        shown = shown.clamp(-1, 1)
    np.testing.assert_allclose(shown, official["decoded"], atol=1e-4)
    if kind == "vq":
        pixels = to_uint8(decoded, PostProcessing(size=256, rounding="round"))[0, ::5, ::5]
        differ = np.abs(pixels.astype(int) - official["pixels"][:, :])
        assert differ.max() <= 1 and (differ > 0).mean() < 1e-2  # a float on either side of a half


OFFICIAL = [
    (package, family, name)
    for package, families in (("models", ("llamagen", "var")), ("tokenizers", ("vq", "multiscale")))
    for family in families
    for name in plugins.load("cca.imports", family).SIZES
]


@pytest.mark.parametrize(("package", "family", "name"), OFFICIAL, ids=[name for *_, name in OFFICIAL])
def test_names_and_shapes_of_every_official_size(
    package: str, family: str, name: str, formula: ModuleType
) -> None:
    """Digests of the official lists, that which only they have included; nothing is in memory."""
    official = plugins.load("cca.imports", family)
    with torch.device("meta"):
        network: nn.Module
        if package == "models":
            kind = {"llamagen": "vq", "var": "multiscale"}[family]
            network = models.build(family, official.SIZES[name], tokenizer(kind), 1000)
        else:
            network = tokenizer(family)
    expected = shapes(network.state_dict()) | official.optional(network)
    expected.pop("freqs_cis", None)  # a plain attribute of the official model
    keys = json.loads(Path(formula.__file__).with_name("keys.json").read_text())
    assert formula.digest(expected) == keys[name]


def tokenizer(kind: str) -> Tokenizer:
    size = {"vq": 384, "multiscale": 256}[kind]
    (sizes,) = plugins.load("cca.imports", kind).SIZES.values()
    return tokenizers.build(kind, sizes | {"image_size": size})


@pytest.mark.parametrize("shape", ["260x333", "900x801"])
def test_crops(shape: str, golden: Read, formula: ModuleType) -> None:
    """The ten crops, and the resized image that VAR's random crop is cut from: every 17th, 11th pixel."""
    image = Image.fromarray(formula.photograph(*map(int, shape.split("x"))))
    ten = np.stack([np.asarray(crop) for crop in ten_crops(image, 384, 1.1)])
    np.testing.assert_array_equal(ten[:, ::17, ::17], golden("ten_crops")[shape])
    corner = np.asarray(random_crop(image, 256, 1.125, (0, 0)))
    np.testing.assert_array_equal(corner[::11, ::11], golden("random_crop")[shape][:24, :24])
