"""The training images as codes: encoded once, several augmented crops of each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from tqdm import tqdm

from cca import tokenizers
from cca.data import images as image_data
from cca.data.augment import Augmentation, augment
from cca.device import pick
from cca.errors import CCAError
from cca.files import CsvLog, read_npz, write_npz
from cca.rng import generator
from cca.settings import Settings


class CodesSettings(Settings):
    """How many crops of every training image are encoded, and how they are augmented."""

    crops: int = Field(ge=1)
    augmentation: Augmentation = Augmentation()
    batch_size: int = Field(default=500, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Codes:
    """Codes of the training images.

    Attributes:
        codes: (N, K, T) int32, K crops of each image, values below ``vocab_size``.
        labels: (N,) int64 below ``num_classes``.
    """

    codes: np.ndarray
    labels: np.ndarray
    vocab_size: int
    num_classes: int

    def select(self, image: np.ndarray, crop: np.ndarray) -> torch.Tensor:
        """Codes (B, T) int64 of the given images and crops."""
        return torch.from_numpy(self.codes[image, crop].astype(np.int64))


def run(settings: CodesSettings, *, images: Path, tokenizer: Path, out: Path) -> dict:
    """Stage ``codes``: encode ``settings.crops`` augmented copies of every training image."""
    data = image_data.load(images)
    device = pick()
    model = tokenizers.load(tokenizer).to(device)
    count = len(data.train_images)
    codes = np.empty((count, settings.crops, model.num_tokens), dtype=np.int32)
    with CsvLog(out.with_suffix(".log.csv")) as log:
        for crop in tqdm(range(settings.crops), desc="codes"):
            rng = generator("crop", settings.seed, crop)
            augmented = augment(data.train_images, settings.augmentation, rng)
            for start in range(0, count, settings.batch_size):
                batch = image_data.to_tensor(augmented[start : start + settings.batch_size]).to(device)
                with torch.inference_mode():
                    codes[start : start + settings.batch_size, crop] = model.encode(batch).cpu().numpy()
            log.write(crop=crop, codebook_use=len(np.unique(codes[:, crop])) / model.vocab_size)
    write_npz(
        out,
        codes=codes,
        labels=data.train_labels,
        vocab_size=np.array(model.vocab_size),
        num_classes=np.array(data.num_classes),
    )
    return {"images": count, "codebook_use": len(np.unique(codes)) / model.vocab_size}


def load(path: Path) -> Codes:
    """Read what `run` wrote.

    Raises:
        CCAError: damaged file, wrong shapes, codes or labels out of range.
    """
    arrays = read_npz(path, "codes", "labels", "vocab_size", "num_classes")
    codes, labels = arrays["codes"], arrays["labels"]
    vocab_size, num_classes = int(arrays["vocab_size"]), int(arrays["num_classes"])
    if codes.ndim != 3 or len(codes) != len(labels):
        raise CCAError(f"{path}: codes must be (images, crops, tokens) with a label each, not {codes.shape}")
    if not (codes.min() >= 0 and codes.max() < vocab_size):
        raise CCAError(f"{path}: a code is out of range 0..{vocab_size - 1}")
    image_data.check_labels(labels, num_classes, path)
    return Codes(codes, labels, vocab_size, num_classes)
