import os
import pickle

import numpy as np
import pytest
import torch
from torch_fidelity import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from cca.errors import CCAError
from cca.evaluate.classifier import load_classifier, to_input
from cca.evaluate.extractors import Extractor, extract, load, without_tf32
from cca.evaluate.images import ArrayImages
from cca.files import sha256


def rgb(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(count, size, size, 3), dtype=np.uint8)


def test_one_pass_gives_what_the_network_gives(classifier_file):
    images = rgb(23)
    features = extract(images, load(Extractor("cca-classifier", classifier_file)), batch_size=5)
    with torch.inference_mode():
        expected = load_classifier(classifier_file)(to_input(images))
    np.testing.assert_allclose(features.pool, expected.pool, atol=1e-5)
    np.testing.assert_allclose(features.spatial, expected.spatial, atol=1e-5)
    np.testing.assert_allclose(features.logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(features.colour, images.mean(axis=(0, 1, 2)))


def test_grey_arrays_are_repeated(classifier_file):
    grey, loaded = rgb(6)[..., :1], load(Extractor("cca-classifier", classifier_file))
    np.testing.assert_array_equal(
        extract(grey, loaded).pool, extract(np.repeat(grey, 3, axis=3), loaded).pool
    )


def test_identity_names_the_weights(classifier_file):
    loaded = load(Extractor("cca-classifier", classifier_file))
    assert loaded.identity == f"cca-classifier {sha256(classifier_file)}"


def test_any_registered_extractor_will_do():
    class Means(FeatureExtractorBase):
        """Mean colours as features, no class scores."""

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (images.float().mean(dim=(2, 3)),)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("means",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "means"

        def __init__(self, name: str, features_list: list[str], **options: object):
            super().__init__(name, features_list)

    FEATURE_EXTRACTORS_REGISTRY["test-means"] = Means
    try:
        features = extract(rgb(4), load(Extractor("test-means")))
    finally:
        del FEATURE_EXTRACTORS_REGISTRY["test-means"]
    np.testing.assert_allclose(features.pool, rgb(4).mean(axis=(1, 2)), rtol=1e-5)
    assert features.logits is None
    assert features.spatial is None


def test_tf32_is_off_only_while_it_matters():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    try:
        with without_tf32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert torch.backends.cudnn.allow_tf32 == before[1]


class Command:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_pickles_are_not_run(tmp_path):
    for name, save in (
        ("a.pth", torch.save),
        ("b.pth", lambda x, p: p.write_bytes(pickle.dumps(x, protocol=2))),
    ):
        save(Command(f"touch {tmp_path}/ran"), tmp_path / name)
        with pytest.raises(CCAError, match="not a plain PyTorch state dict") as error:
            load(Extractor("cca-inception", tmp_path / name))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network(tmp_path):
    torch.save({"conv.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(CCAError, match=r"other\.pth: cannot build cca-inception") as error:
        load(Extractor("cca-inception", tmp_path / "other.pth"))
    assert "\n" not in str(error.value)


def test_a_classifiers_file_for_inception_says_what_it_needs(classifier_file, tmp_path):
    with pytest.raises(CCAError, match=r"not Inception's weights; .* '{extractor: cca-classifier}'"):
        load(Extractor("cca-inception", classifier_file))
    with pytest.raises(CCAError, match=r"none\.safetensors: no such file"):
        load(Extractor("cca-inception", tmp_path / "none.safetensors"))


def test_bad_input(classifier_file, tmp_path):
    with pytest.raises(CCAError, match=r"'vgg' is not one of the extractors: .*cca-classifier"):
        load(Extractor("vgg"))
    with pytest.raises(CCAError, match="needs the file of its weights"):
        load(Extractor("cca-classifier"))
    with pytest.raises(CCAError, match="no such file"):
        load(Extractor("cca-inception", tmp_path / "none.pth"))
    loaded = load(Extractor("cca-classifier", classifier_file))
    with pytest.raises(CCAError, match="16 x 16 px; the classifier was trained on 8 px"):
        extract(rgb(2, size=16), loaded)
    with pytest.raises(CCAError, match="no images"):
        extract(rgb(0), loaded)
    with pytest.raises(CCAError, match="must be uint8"):
        ArrayImages(rgb(2).astype(np.float32))


def test_features_that_are_not_finite(classifier_file):
    loaded = load(Extractor("cca-classifier", classifier_file))
    loaded.network.classifier.classify.bias.fill_(torch.nan)
    with pytest.raises(CCAError, match="NaN or infinite"):
        extract(rgb(2), loaded)
