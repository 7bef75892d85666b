"""A perceptual distance: images compared by what the layers of a classifier make of them.

LPIPS (Zhang et al. 2018) with equal weights, in which LlamaGen and VAR train their tokenizers; there the
network is VGG, here a classifier that the DAG trains on images of its own, apart from those that the
evaluator's classifier is trained on: what measures is never trained on.
"""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cca.errors import CCAError
from cca.evaluate.classifier import Classifier, load_classifier


class Perceptual(nn.Module):
    """The distance of a frozen classifier: gradients reach the images only."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        stages: list[nn.Sequential] = [*classifier.stages.eval().requires_grad_(False)]
        between = [nn.Sequential(*stage[1:], after[0]) for stage, after in pairwise(stages)]
        self.layers = nn.ModuleList([stages[0][0], *between])  # the last stage's blocks have no say

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances (B,) of images (B, C, H, W) in [-1, 1] from others of the same shape, 0 of equal ones.

        The mean over stages of the mean over positions of ``|f - f'|²``, with the map f of a stage's first
        convolution, before it is halved, at each position of unit length.
        """
        maps, distances = torch.cat([images, others]), []
        for layer in self.layers:
            maps = layer(maps)
            one, other = F.normalize(maps, dim=1).chunk(2)
            distances.append((one - other).square().sum(dim=1).mean(dim=(1, 2)))
        return torch.stack(distances).mean(dim=0)


def load(path: Path, image_size: int, channels: int) -> Perceptual:
    """The distance of a checkpoint made by stage ``features``.

    Raises:
        CCAError: a damaged file, a checkpoint of something else, or a classifier of other images.
    """
    classifier = load_classifier(path)
    seen = classifier.image_size, classifier.channels
    if seen != (image_size, channels):
        raise CCAError(
            f"{path}: a classifier of images of (size, channels) {seen}, but the tokenizer's are "
            f"{(image_size, channels)}"
        )
    return Perceptual(classifier)
