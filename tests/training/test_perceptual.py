"""The perceptual distance against a computation position by position, and what its gradients reach."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cca.errors import CCAError
from cca.evaluate.classifier import Classifier, ClassifierArchitecture
from cca.training.perceptual import Perceptual, load

ARCHITECTURE = ClassifierArchitecture(widths=[4, 6], blocks=1, pool_size=1, features=5, spatial_channels=2)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    model = Classifier(ARCHITECTURE, image_size=8, channels=3, num_classes=2)
    model(torch.randint(256, (32, 3, 8, 8)))  # in train mode: statistics of the normalisations
    return model.eval()


def pictures(seed: int) -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_distance_is_that_of_unit_features_averaged(classifier: Classifier) -> None:
    maps: list[Tensor] = []
    for stage in classifier.stages:
        halving = next(part for part in stage if isinstance(part, torch.nn.MaxPool2d))
        halving.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0].detach()))
    one, other = pictures(1), pictures(2)
    for images in (one, other):  # the classifier's own way: uint8's range
        classifier((images + 1) * 127.5)
    expected = np.zeros(3)
    for stage in (0, 1):
        f, g = (np.asarray(maps[stage + 2 * side], dtype=np.float64) for side in (0, 1))
        for image, row, column in np.ndindex(3, *f.shape[2:]):
            u, v = f[image, :, row, column], g[image, :, row, column]
            u, v = u / max(np.linalg.norm(u), 1e-12), v / max(np.linalg.norm(v), 1e-12)
            expected[image] += ((u - v) ** 2).sum() / f.shape[2] / f.shape[3] / 2
    distance = Perceptual(classifier)
    assert distance(one, other).tolist() == pytest.approx(expected, rel=1e-4)
    assert distance(one, one).tolist() == [0, 0, 0]


def test_gradients_reach_the_images_only(classifier: Classifier) -> None:
    distance, images = Perceptual(classifier), pictures(1).requires_grad_()
    before = [tensor.clone() for tensor in distance.state_dict().values()]
    distance(images, pictures(2)).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in distance.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, distance.state_dict().values(), strict=True))


def test_a_classifier_of_other_images_is_refused(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "perceptual.safetensors"
    classifier.save(path)
    assert load(path, 8, 3)(pictures(1), pictures(2)).shape == (3,)
    with pytest.raises(CCAError, match=r"perceptual.safetensors: a classifier of .*\(8, 3\).*\(16, 3\)"):
        load(path, 16, 3)
