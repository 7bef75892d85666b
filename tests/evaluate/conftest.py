"""A tiny classifier that several tests of the evaluator use."""

from pathlib import Path

import numpy as np
import pytest

from cca.evaluate.classifier import Classifier, ClassifierArchitecture, fit_scales
from cca.evaluate.evaluator import EvaluationSettings
from cca.rng import generator, seed_torch

SMALL = ClassifierArchitecture(widths=[6, 8], pool_size=2, features=5, spatial_stage=1, spatial_channels=3)


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the user's own for features of references."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained classifier of 8 x 8 grey images and 4 classes: 5 pooled, 12 spatial features."""
    path = tmp_path_factory.mktemp("classifier") / "classifier.safetensors"
    seed_torch("evaluate")
    model = Classifier(SMALL, image_size=8, channels=1, num_classes=4).eval()
    fit_scales(model, generator("evaluate").integers(256, size=(50, 8, 8, 1), dtype=np.uint8))
    model.save(path)
    return path


@pytest.fixture(scope="session")
def settings() -> EvaluationSettings:
    return EvaluationSettings(extractor="cca-classifier", batch_size=16)
