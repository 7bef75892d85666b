"""Real CIFAR-10 as a folder of classes, ``cifar10/train/<class>/*.jpg``, where it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cca.data import images
from cca.stages.train_classifier import ClassifierSettings
from cca.stages.train_classifier import run as train

MEANS = (0.4914, 0.4822, 0.4465)  # of R, G, B over the 50,000 training images, as is widely published


@pytest.fixture(scope="module")
def made(real_images: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, out = real_images("cifar10/train"), tmp_path_factory.mktemp("cifar10") / "images.npz"
    settings = {"source": "folder", "root": root, "image_size": 32, "channels": 3, "heldout_fraction": 0.1}
    images.run(images.DataSettings(**settings), out=out)
    return out


def test_all_images_are_read_in_colour_and_split_without_overlap(made: Path) -> None:
    data = images.load(made)
    assert (len(data.train_labels), len(data.heldout_labels), data.num_classes) == (45_000, 5_000, 10)
    assert (np.bincount(data.train_labels) == 4_500).all() and data.class_names[0] == "airplane"
    everything = np.concatenate([data.train_images, data.heldout_images])
    assert everything.shape[1:] == (32, 32, 3)
    assert everything.mean(axis=(0, 1, 2)) / 255 == pytest.approx(MEANS, abs=0.003)


def test_the_metrics_classifier_and_the_perceptual_one_see_disjoint_images(made: Path) -> None:
    labels = images.load(made).train_labels
    seen, other = images.part(labels, 10, (0, 0.85)), images.part(labels, 10, (0.85, 1))
    assert not set(seen) & set(other) and len(seen) + len(other) == len(labels)


def test_a_classifier_learns_from_them(made: Path, tmp_path: Path) -> None:
    settings = ClassifierSettings(
        architecture={"widths": [16, 32], "pool_size": 2},
        training={"steps": 150, "batch_size": 64, "optimisation": {"learning_rate": 5e-3, "clip": 5}},
        augmentation={"flip": True},
        minimum_accuracy=0.3,  # three times chance; below it the stage fails
    )
    assert train(settings, images=made, out=tmp_path / "classifier.safetensors")["accuracy"] >= 0.3
