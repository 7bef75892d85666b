"""The domain classifier: a small CNN whose features stand in for Inception's on other images."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from cca import checkpoints
from cca.data.files import FileImages
from cca.errors import CCAError
from cca.settings import Settings, validate


class ClassifierArchitecture(Settings):
    """Sizes that the data does not fix. The defaults suit digits; CIFAR-10 wants blocks and pool_size 1."""

    widths: list[PositiveInt] = Field([16, 32, 64], min_length=1, description="channels of each stage")
    blocks: int = Field(0, ge=0, description="residual blocks of each stage, on the halved map")
    pool_size: int = Field(3, ge=1, description="cells a side to which the last map is averaged")
    features: int = Field(64, ge=2, description="number of pooled features")
    spatial_stage: int = Field(1, ge=0, description="the stage, from 0, of whose map sFID is computed")
    spatial_channels: int = Field(4, ge=1, description="its first channels are taken; Inception's first 7")
    dropout: float = Field(0.2, ge=0, lt=1, description="of the averaged last map, in training")

    @model_validator(mode="after")
    def _spatial_map_exists(self) -> "ClassifierArchitecture":
        if self.spatial_stage >= len(self.widths):
            raise ValueError(
                f"spatial_stage {self.spatial_stage} is not one of {len(self.widths)} stages, from 0"
            )
        if self.spatial_channels > self.widths[self.spatial_stage]:
            raise ValueError(f"spatial_channels {self.spatial_channels} are more than that stage has")
        return self


class ClassifierOutput(NamedTuple):
    """What one pass gives; float32.

    ``pool`` (B, features) and ``spatial`` (B, height * width * spatial_channels, in this order) have
    unit standard deviation over the training images as a whole; ``logits`` (B, num_classes).
    ``later_spatial`` is as ``spatial``, of the next stage (after the last one, the first).
    """

    pool: Tensor
    spatial: Tensor
    logits: Tensor
    later_spatial: Tensor


class ConvUnit(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two convolutions beside an identity (He et al. 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.first = ConvUnit(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        return F.relu(x + self.norm(self.second(self.first(x))))


class Classifier(nn.Module):
    """Images to pooled features, spatial features and class logits, in one pass.

    The scales of the two kinds of features are buffers: set by `fit_scales` after training, kept in
    the checkpoint.

    Args:
        architecture: sizes of the network.
        image_size: side of the images in pixels.
        channels: 3, or 1 for a network that sees the mean of R, G and B.
        num_classes: number of logits.

    Raises:
        CCAError: sizes that do not fit each other.
    """

    pool_scale: Tensor
    spatial_scale: Tensor

    def __init__(
        self, architecture: ClassifierArchitecture, image_size: int, channels: int, num_classes: int
    ):
        super().__init__()
        self.architecture = a = architecture
        self.image_size, self.channels, self.num_classes = image_size, channels, num_classes
        if image_size >> len(a.widths) < a.pool_size:
            raise CCAError(
                f"classifier: {len(a.widths)} stages leave {image_size} px less than pool_size {a.pool_size}"
            )
        inputs, stages = channels, []
        for width in a.widths:
            blocks = [ResidualBlock(width) for _ in range(a.blocks)]
            stages.append(nn.Sequential(ConvUnit(inputs, width), nn.MaxPool2d(2), *blocks))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.dropout = nn.Dropout(a.dropout)
        self.project = nn.Linear(inputs * a.pool_size**2, a.features, bias=False)
        self.norm = nn.BatchNorm1d(a.features)
        self.classify = nn.Linear(a.features, num_classes)
        self.register_buffer("pool_scale", torch.ones(()))
        self.register_buffer("spatial_scale", torch.ones(()))

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Uint8 RGB images (B, 3, image_size, image_size) to features and logits."""
        x = images.to(torch.float32)
        if self.channels == 1:
            x = x.mean(dim=1, keepdim=True)
        x = x / 127.5 - 1
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x[:, : self.architecture.spatial_channels].permute(0, 2, 3, 1).flatten(1))
        here = self.architecture.spatial_stage
        spatial, later = (maps[index % len(maps)] / self.spatial_scale for index in (here, here + 1))
        if x.shape[-1] != self.architecture.pool_size:
            x = F.adaptive_avg_pool2d(x, self.architecture.pool_size)
        pool = F.relu(self.norm(self.project(self.dropout(x.flatten(1)))))
        return ClassifierOutput(pool / self.pool_scale, spatial, self.classify(pool), later)

    def save(self, path: Path, **more: object) -> None:
        """Write a checkpoint that `load_classifier` reads, with ``more`` in its header."""
        sizes = {"image_size": self.image_size, "channels": self.channels, "num_classes": self.num_classes}
        metadata = {"classifier": self.architecture.model_dump(mode="json"), "sizes": sizes}
        checkpoints.save(path, self, metadata | more)


def load_classifier(path: Path) -> Classifier:
    """The classifier of a checkpoint, in eval mode.

    Raises:
        CCAError: missing or damaged file, or a checkpoint of something else.
    """
    state, metadata = checkpoints.read(path)
    if not {"classifier", "sizes"} <= set(metadata):
        raise CCAError(f"{path}: a checkpoint of something else: its header has no 'classifier'")
    architecture = validate(ClassifierArchitecture, metadata["classifier"], f"{path}: classifier")
    sizes = metadata["sizes"]
    return checkpoints.built(lambda: Classifier(architecture, **sizes), state, path).eval()


def to_input(images: np.ndarray) -> Tensor:
    """uint8 images (B, H, W, 1 or 3) to RGB (B, 3, H, W); grey is repeated."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)


@torch.no_grad()
def fit_scales(model: Classifier, images: np.ndarray | FileImages, batch_size: int = 500) -> None:
    """Set the scales so that each kind of features has unit overall standard deviation.

    The model must be in eval mode; ``images`` are uint8 (N, H, W, C). Constant features keep scale 1.
    """
    model.pool_scale.fill_(1)
    model.spatial_scale.fill_(1)
    device = model.pool_scale.device
    starts = range(0, len(images), batch_size)
    outputs = [model(to_input(images[i : i + batch_size]).to(device)) for i in starts]
    for scale, name in ((model.pool_scale, "pool"), (model.spatial_scale, "spatial")):
        deviation = torch.cat([getattr(output, name) for output in outputs]).double().std(correction=0)
        scale.fill_(float(deviation) or 1.0)


@torch.no_grad()
def accuracy(
    model: Classifier, images: np.ndarray | FileImages, labels: np.ndarray, batch_size: int = 500
) -> float:
    """Fraction of uint8 ``images`` (N, H, W, C) whose largest logit is that of their label (N,)."""
    device = model.pool_scale.device
    starts = range(0, len(images), batch_size)
    logits = [model(to_input(images[i : i + batch_size]).to(device)).logits for i in starts]
    return float((torch.cat(logits).argmax(dim=1).cpu().numpy() == labels).mean())
