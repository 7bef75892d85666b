"""Extractors of torch-fidelity's registry, in which our Inception with spatial features is one."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorBase, register_feature_extractor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torch_fidelity.utils import create_feature_extractor

from cca.checkpoints import read_torch
from cca.errors import CCAError
from cca.evaluate.inception import InceptionWithSpatial, published_weights
from cca.evaluate.protocol import CLASSIFIER, INCEPTION
from cca.files import require

if INCEPTION not in FEATURE_EXTRACTORS_REGISTRY:
    register_feature_extractor(INCEPTION, InceptionWithSpatial)


def build(name: str, weights: Path | None, spatial: str) -> tuple[nn.Module, tuple[str, ...], Path | None]:
    """A registered extractor, the names that its outputs have in our `Features`, and its file of weights.

    Args:
        name: in torch-fidelity's registry.
        weights: None for those that torch-fidelity downloads.
        spatial: which feature sFID is computed on, where the extractor has it.

    Raises:
        CCAError: no such extractor; weights that are missing, not a plain state dict, or another network's.
    """
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        known = ", ".join(sorted([CLASSIFIER, *FEATURE_EXTRACTORS_REGISTRY]))
        raise CCAError(f"'{name}' is not one of the extractors: {known}")
    if weights is None and name == INCEPTION:
        weights = published_weights()
    layers = _layers(FEATURE_EXTRACTORS_REGISTRY[name], spatial)
    options: dict[str, Any] = {"verbose": False}
    if weights is not None:
        options["feature_extractor_weights_path"] = plain(weights)
    try:
        network = create_feature_extractor(name, list(layers.values()), cuda=False, **options)
    except (RuntimeError, ValueError, OSError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CCAError(f"{weights or name}: cannot build {name} ({reason})") from None
    return network, tuple(layers), weights


def plain(weights: Path) -> io.BytesIO:
    """A PyTorch file of tensors only, written anew: torch-fidelity unpickles what it is given unrestricted.

    Raises:
        CCAError: missing, damaged, or a file of anything but named tensors.
    """
    if require(weights).suffix == ".safetensors":  # which torch.load would read in its own way
        raise CCAError(
            f"{weights}: not Inception's weights; for this project's classifier add "
            "--settings '{extractor: cca-classifier}'"
        )
    state = read_torch(weights)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CCAError(f"{weights}: not a plain PyTorch state dict: it holds more than named tensors")
    stream = io.BytesIO()
    torch.save(dict(state), stream)
    stream.seek(0)
    return stream


def _layers(extractor: type[FeatureExtractorBase], spatial: str) -> dict[str, str]:
    """Which of an extractor's features are our pooled and spatial features and class logits."""
    layers = {"pool": extractor.get_default_feature_layer_for_metric("fid")}
    if spatial in extractor.get_provided_features_list():
        layers["spatial"] = spatial
    scores = extractor.get_default_feature_layer_for_metric("isc")
    if scores != layers["pool"]:  # torch-fidelity offers pooled features as "scores" of networks without any
        layers["logits"] = scores
    return layers
