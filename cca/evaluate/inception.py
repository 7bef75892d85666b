"""torch-fidelity's Inception with the spatial features that sFID needs, and its weights."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorBase, FeatureExtractorInceptionV3

from cca.errors import CCAError
from cca.evaluate.protocol import INCEPTION_SHA256, INCEPTION_URL, LATER_SPATIAL, SPATIAL
from cca.files import sha256
from cca.files.fetch import download

SPATIAL_CHANNELS = 7
"""The first so many channels of ``mixed_6/conv:0``: 17 x 17 x 7 = 2023 features."""


class InceptionWithSpatial(FeatureExtractorBase):
    """`FeatureExtractorInceptionV3` with two features more, ``spatial`` and ``later_spatial`` (B, 2023).

    TensorFlow's ``mixed_6/conv:0`` is the output of ``Mixed_6d.branch1x1``, flattened height, width,
    channel; ``later_spatial`` is of ``Mixed_6e``, by which it is often mistaken. Parameters are those of
    torch-fidelity's class.
    """

    spatial_channels = SPATIAL_CHANNELS

    def __init__(self, name: str, features_list: list[str], **kwargs: object):
        super().__init__(name, features_list)
        # '768' is the first feature behind both layers: the cheapest way to get to them.
        own = [feature for feature in features_list if feature not in (SPATIAL, LATER_SPATIAL)] or ["768"]
        self.inception = FeatureExtractorInceptionV3(name, own, **kwargs)
        self._maps: dict[str, Tensor] = {}
        for feature, layer in ((SPATIAL, self.inception.Mixed_6d), (LATER_SPATIAL, self.inception.Mixed_6e)):
            layer.branch1x1.register_forward_hook(partial(self._keep, feature))

    def _keep(self, feature: str, module: torch.nn.Module, inputs: tuple, output: Tensor) -> None:
        self._maps[feature] = output

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Uint8 RGB images (B, 3, H, W) to the requested features, in the order requested."""
        features = self.inception.convert_features_tuple_to_dict(self.inception(images))
        for feature, output in self._maps.items():
            spatial = output[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1)
            features[feature] = spatial.flatten(1).to(torch.float32)
        self._maps.clear()
        return tuple(features[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """Names of the features."""
        return (*FeatureExtractorInceptionV3.get_provided_features_list(), SPATIAL, LATER_SPATIAL)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """Those of torch-fidelity's Inception."""
        return FeatureExtractorInceptionV3.get_default_feature_layer_for_metric(metric)

    @staticmethod
    def can_be_compiled() -> bool:
        """No: a hook leaves the graph."""
        return False


def published_weights() -> Path:
    """The weights where torch-fidelity downloads them to, downloaded if they are not there yet.

    Raises:
        CCAError: they are not there and cannot be downloaded, or are not the published ones.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(INCEPTION_URL).name
    if not path.is_file():
        try:
            download(INCEPTION_URL, path, INCEPTION_SHA256)
        except CCAError as error:
            raise CCAError(f"{error}; or give Inception's weights as a file, or put it at {path}") from None
    if (found := sha256(path)) != INCEPTION_SHA256:
        raise CCAError(
            f"{path}: its SHA-256 is {found}, not {INCEPTION_SHA256}: damaged, or not the published weights; "
            "delete it and run the same command again, or give Inception's weights as a file"
        )
    return path
