"""Feature extractors, all of them registered with torch-fidelity, and one pass of images through one."""

import io
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorBase, register_feature_extractor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torch_fidelity.utils import create_feature_extractor
from tqdm import tqdm

from cca.checkpoints import read_torch
from cca.errors import CCAError
from cca.evaluate.classifier import ClassifierOutput, load_classifier, to_input
from cca.evaluate.images import ArrayImages, Images
from cca.evaluate.inception import InceptionWithSpatial, published_weights
from cca.evaluate.protocol import CLASSIFIER, INCEPTION, SPATIAL
from cca.evaluate.samples import Features
from cca.files import require, sha256

T = TypeVar("T")


class ClassifierExtractor(FeatureExtractorBase):
    """The domain classifier as torch-fidelity wants it: the features of `ClassifierOutput`."""

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str, **kwargs: object
    ):
        super().__init__(name, features_list)
        self.classifier = load_classifier(Path(feature_extractor_weights_path))
        self.spatial_channels = self.classifier.architecture.spatial_channels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Uint8 RGB images (B, 3, size, size) to the requested features, in the order requested.

        Raises:
            CCAError: images of another size than the classifier was trained on.
        """
        size = self.classifier.image_size
        if tuple(images.shape[1:]) != (3, size, size):
            raise CCAError(
                f"images of {images.shape[3]} x {images.shape[2]} px; the classifier was trained on {size} px"
            )
        output = self.classifier(images)
        return tuple(getattr(output, name) for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """Names of the features."""
        return ClassifierOutput._fields

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """Class scores for the Inception Score, pooled features for the others."""
        return "logits" if metric == "isc" else "pool"

    @staticmethod
    def can_be_compiled() -> bool:
        """Not worth it."""
        return False


for _name, _class in ((CLASSIFIER, ClassifierExtractor), (INCEPTION, InceptionWithSpatial)):
    if _name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(_name, _class)


@dataclass(frozen=True)
class Extractor:
    """An extractor by its name in torch-fidelity's registry, the file of its weights, sFID's feature."""

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
    if extractor.name not in FEATURE_EXTRACTORS_REGISTRY:
        known = ", ".join(sorted(FEATURE_EXTRACTORS_REGISTRY))
        raise CCAError(f"'{extractor.name}' is not one of the extractors: {known}")
    weights = extractor.weights
    if weights is None and extractor.name == CLASSIFIER:
        raise CCAError(f"extractor {CLASSIFIER} needs the file of its weights, made by the stage 'features'")
    if weights is None and extractor.name == INCEPTION:
        weights = published_weights()
    layers = _layers(FEATURE_EXTRACTORS_REGISTRY[extractor.name], extractor.spatial)
    options: dict[str, Any] = {"verbose": False}
    if weights is not None:
        given = str(weights) if extractor.name == CLASSIFIER else plain(weights)
        options["feature_extractor_weights_path"] = given
    try:
        network = create_feature_extractor(extractor.name, list(layers.values()), cuda=False, **options)
    except (RuntimeError, ValueError, OSError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CCAError(f"{weights or extractor.name}: cannot build {extractor.name} ({reason})") from None
    checksum = None if weights is None else sha256(weights)
    device = torch.device(device)
    return Loaded(network.to(device).eval(), tuple(layers), extractor.name, checksum, device)


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
            with full_precision(), torch.inference_mode():
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
def full_precision() -> Iterator[None]:
    """No TF32, no autotuning: features that repeat, in the precision the suite has."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def prefetched(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The same items, made by a thread up to ``depth`` ahead; its errors are raised here."""
    waiting: queue.Queue = queue.Queue(depth)
    stopped, end = threading.Event(), object()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((end, None))
        except BaseException as error:
            put((end, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
