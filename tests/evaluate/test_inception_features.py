"""The Inception extractor on random weights: 4 s on one thread."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_fidelity import FeatureExtractorInceptionV3

from cca.evaluate.extractors import Extractor, extract, load
from cca.evaluate.inception import InceptionWithSpatial


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights large enough that activations neither vanish nor explode."""
    torch.manual_seed(0)
    with (
        mock.patch("torch.load", return_value={}),
        mock.patch.object(FeatureExtractorInceptionV3, "load_state_dict"),
    ):
        network = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="none")
    for name, parameter in network.named_parameters():
        if parameter.dim() == 4:
            parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
        elif name == "fc.bias":
            parameter.normal_(std=10)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def loaded(weights):
    return load(Extractor("cca-inception", weights))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(2, 40, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def maps(loaded, images) -> dict[str, torch.Tensor]:
    """Features of one pass, and the maps of Mixed_6d and Mixed_6e by a computation of our own."""
    network, kept = loaded.network.inception, {}
    handles = [
        getattr(network, block).register_forward_pre_hook(
            lambda module, inputs, block=block: kept.__setitem__(block, inputs[0].clone())
        )
        for block in ("Mixed_6d", "Mixed_6e")
    ]
    features = extract(images, loaded)
    for handle in handles:
        handle.remove()
    for block in ("Mixed_6d", "Mixed_6e"):
        branch = getattr(network, block).branch1x1
        x = F.conv2d(kept[block], branch.conv.weight)
        norm = branch.bn
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3)
        kept[block] = F.relu(x)
    return kept | {"features": features}


def test_spatial_features(maps):
    spatial, mixed_6d = maps["features"].spatial, maps["Mixed_6d"]
    assert spatial.shape == (2, 2023)
    by_hand = mixed_6d[:, :7].permute(0, 2, 3, 1).reshape(2, -1).numpy()
    np.testing.assert_allclose(spatial, by_hand, rtol=1e-5, atol=1e-5)
    for h, w, c in [(0, 0, 3), (5, 11, 0), (16, 2, 6)]:
        np.testing.assert_allclose(
            spatial[:, (17 * h + w) * 7 + c], mixed_6d[:, c, h, w], rtol=1e-5, atol=1e-5
        )


def test_spatial_features_are_neither_of_another_layer_nor_channel_first(maps):
    spatial = maps["features"].spatial
    another = maps["Mixed_6e"][:, :7].permute(0, 2, 3, 1).reshape(2, -1).numpy()
    channel_first = maps["Mixed_6d"][:, :7].reshape(2, -1).numpy()
    assert spatial.std() > 0.05
    assert np.abs(spatial - another).max() > 0.05
    assert np.abs(spatial - channel_first).max() > 0.05


def test_the_layer_of_sfid_can_be_the_next_one(maps, weights, images):
    wrong = extract(images, load(Extractor("cca-inception", weights, "later_spatial")))
    by_hand = maps["Mixed_6e"][:, :7].permute(0, 2, 3, 1).reshape(2, -1).numpy()
    np.testing.assert_allclose(wrong.spatial, by_hand, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(wrong.pool, maps["features"].pool, rtol=1e-5, atol=1e-5)


def test_logits_are_without_bias(maps, loaded):
    features, layer = maps["features"], loaded.network.inception.fc
    assert features.pool.shape == (2, 2048)
    assert features.logits.shape == (2, 1008)
    np.testing.assert_allclose(features.logits, features.pool @ layer.weight.numpy().T, rtol=1e-4, atol=1e-4)
    assert np.abs(layer.bias.numpy()).max() > 1


def tensorflow_resize(image: np.ndarray, size: int) -> np.ndarray:
    """TensorFlow 1's bilinear: source = target * scale, no half-pixel centres, no antialias."""
    position = np.arange(size, dtype=np.float64) * (image.shape[0] / size)
    low = position.astype(int)
    high = np.minimum(low + 1, image.shape[0] - 1)
    part = (position - low)[:, None, None]
    rows = image[low] * (1 - part) + image[high] * part
    part = part.transpose(1, 0, 2)
    return rows[:, low] * (1 - part) + rows[:, high] * part


@pytest.mark.parametrize("size", [64, 256, 512])
def test_resize_is_tensorflow_1s(loaded, size):
    class Reached(Exception):  # noqa: N818
        pass

    def stop(module, inputs):
        raise Reached(inputs[0])

    image = np.random.default_rng(size).integers(256, size=(size, size, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    handle = loaded.network.inception.Conv2d_1a_3x3.register_forward_pre_hook(stop)
    with pytest.raises(Reached) as reached:
        loaded.network(tensor)
    handle.remove()
    got = reached.value.args[0][0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, (tensorflow_resize(image.astype(np.float64), 299) - 128) / 128, atol=2e-4)
    other = F.interpolate(tensor.float(), size=(299, 299), mode="bilinear", align_corners=False)
    assert np.abs(got - ((other - 128) / 128)[0].permute(1, 2, 0).numpy()).max() > 0.05


def test_spatial_alone_and_in_another_order(weights, images, maps):
    network = InceptionWithSpatial(
        "alone", ["spatial"], feature_extractor_weights_path=str(weights), verbose=False
    )
    (spatial,) = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(spatial.numpy(), maps["features"].spatial, rtol=1e-5, atol=1e-5)
