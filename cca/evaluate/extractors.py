"""Feature extractors, our classifier or one of torch-fidelity's, and one pass of images through one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from cca.errors import CCAError
from cca.evaluate.classifier import Classifier, load_classifier, to_input
from cca.evaluate.images import ArrayImages, Images
from cca.evaluate.protocol import CLASSIFIER, SPATIAL
from cca.evaluate.samples import Features
from cca.files import sha256
from cca.prefetch import prefetched


class ClassifierExtractor(nn.Module):
    """Chosen features of the domain classifier."""

    def __init__(self, classifier: Classifier, features: tuple[str, ...]):
        super().__init__()
        self.classifier, self.features = classifier, features
        self.spatial_channels = classifier.architecture.spatial_channels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Uint8 RGB images (B, 3, size, size) to the features, in the order given.

        Raises:
            CCAError: images of another size than the classifier was trained on.
        """
        size = self.classifier.image_size
        if tuple(images.shape[1:]) != (3, size, size):
            raise CCAError(
                f"images of {images.shape[3]} x {images.shape[2]} px; the classifier was trained on {size} px"
            )
        output = self.classifier(images)
        return tuple(getattr(output, name) for name in self.features)


@dataclass(frozen=True)
class Extractor:
    """An extractor by its name, the classifier's or one of torch-fidelity's; its weights, sFID's feature."""

    name: str
    weights: Path | None = None
    spatial: str = SPATIAL


@dataclass(frozen=True)
class Loaded:
    """An extractor ready to use.

    ``layers`` are the names that the network's outputs have in our `Features`, in their order.
    """

    network: nn.Module
    layers: tuple[str, ...]
    name: str
    weights_sha256: str | None
    device: torch.device

    @property
    def identity(self) -> str:
        """Name and weights in one string, kept beside features and statistics."""
        return f"{self.name} {self.weights_sha256 or 'default-weights'}"


def load(extractor: Extractor, device: torch.device | str = "cpu") -> Loaded:
    """Build an extractor with its weights.

    Raises:
        CCAError: no such extractor; weights that are missing, not a plain state dict, or another network's.
    """
    if extractor.name == CLASSIFIER:
        if extractor.weights is None:
            raise CCAError(
                f"extractor {CLASSIFIER} needs the file of its weights, made by the stage 'features'"
            )
        weights: Path | None = extractor.weights
        features = ("pool", extractor.spatial, "logits")
        network: nn.Module = ClassifierExtractor(load_classifier(extractor.weights), features)
        layers: tuple[str, ...] = ("pool", "spatial", "logits")
    else:
        from cca.evaluate import fidelity  # torch-fidelity takes longer to import than all else together

        network, layers, weights = fidelity.build(extractor.name, extractor.weights, extractor.spatial)
    checksum = None if weights is None else sha256(weights)
    device = torch.device(device)
    return Loaded(network.to(device).eval().requires_grad_(False), layers, extractor.name, checksum, device)


def extract(images: Images | np.ndarray, extractor: Loaded, batch_size: int = 64) -> Features:
    """Features of all images in one pass; memory grows with the features only.

    Args:
        images: uint8 (N, H, W, C), an array or a source of batches; grey is repeated to RGB.
        extractor: from `load`.
        batch_size: images at a time.

    Raises:
        CCAError: unusable images, or features that are NaN or infinite.
    """
    source = ArrayImages(images) if isinstance(images, np.ndarray) else images
    count, start, colour = source.shape[0], 0, np.zeros(3)
    if not count:
        raise CCAError("no images to extract features of")
    columns: dict[str, np.ndarray] = {}
    for batch, features in stream(source, extractor, batch_size):
        for name in extractor.layers:
            values = getattr(features, name)
            if name not in columns:
                columns[name] = np.empty((count, *values.shape[1:]), values.dtype)
            columns[name][start : start + len(batch)] = values
        colour += features.colour * (len(batch) / count)
        start += len(batch)
    return Features(**columns, colour=colour)


def stream(images: Images, extractor: Loaded, batch_size: int) -> Iterator[tuple[np.ndarray, Features]]:
    """A batch of images and its features after another; the next is prepared while the network works."""
    count, height, width, _ = images.shape
    quiet = None if count * height * width > 5e7 else True
    with tqdm(total=count, desc="features", unit="image", disable=quiet) as bar:
        for batch, colour, inputs in prefetched(prepared(images.batches(batch_size), extractor.device)):
            inputs = inputs.to(extractor.device, non_blocking=True)
            with without_tf32(), torch.inference_mode():
                outputs = [output.cpu().numpy() for output in extractor.network(inputs)]
            if not all(np.isfinite(output).all() for output in outputs):
                raise CCAError(f"{extractor.name}: features are NaN or infinite: check its weights")
            bar.update(len(batch))
            yield batch, Features(**dict(zip(extractor.layers, outputs, strict=True)), colour=colour)


def prepared(
    batches: Iterator[np.ndarray], device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
    """Batches, their mean R, G, B, and the tensors that go to the device, from pinned memory to a GPU."""
    for batch in batches:
        pixels = batch.shape[0] * batch.shape[1] * batch.shape[2]
        colour = batch.sum(axis=0, dtype=np.int64).sum(axis=(0, 1)) / pixels  # images first: 15 times faster
        inputs = to_input(batch)
        if device.type == "cuda":
            inputs = inputs.contiguous().pin_memory()
        yield batch, np.broadcast_to(colour, 3), inputs


@contextmanager
def without_tf32() -> Iterator[None]:
    """No TF32, no autotuning: features that repeat, in the precision the suite has."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
