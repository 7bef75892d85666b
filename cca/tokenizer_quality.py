"""How good a tokenizer is: errors, use of its codes, and the FID of its reconstructions (rFID)."""

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from cca import tokenizers
from cca.data import images as image_data
from cca.device import pick
from cca.evaluate.evaluator import evaluate
from cca.evaluate.protocol import EvaluationSettings
from cca.files import cache_folder, write_json
from cca.rng import generator
from cca.sampling import PostProcessing, to_uint8
from cca.tokenizers import Tokenizer

BATCH = 250


def run(
    settings: EvaluationSettings,
    *,
    images: Path,
    tokenizer: Path,
    reference: Path,
    weights: Path | None = None,
    out: Path,
) -> dict:
    """Stage ``quality``: write `measure`, ``rfid`` and the whole ``evaluation`` that it is from as JSON.

    Evaluated are reconstructions of ``settings.reference_images`` training images, by the tier's
    evaluator against the reference batch: no model of these codes is expected to reach a lower FID.

    Raises:
        CCAError: files that are damaged or do not belong together.
    """
    data, device = image_data.load(images), pick()
    coder = tokenizers.load(tokenizer).to(device)
    measured = measure(coder, data.train_images, data.heldout_images)
    order = generator("reconstructions", settings.reference_seed).permutation(len(data.train_images))
    chosen = data.train_images[np.sort(order[: settings.reference_images])]
    with torch.inference_mode():
        parts = [to_uint8(_reconstruct(coder, batch), PostProcessing()) for batch in _batches(chosen, device)]
    with TemporaryDirectory() as folder:
        samples = Path(folder, "reconstructions.npz")
        np.savez(samples, arr_0=np.concatenate(parts))
        evaluation = evaluate(reference, samples, settings, weights=weights, cache=cache_folder("features"))
    measured["rfid"] = evaluation["fid"]
    write_json(out, measured | {"evaluation": evaluation})
    return measured


@torch.inference_mode()
def measure(tokenizer: Tokenizer, train_images: np.ndarray, heldout_images: np.ndarray) -> dict:
    """How well a tokenizer in eval mode reconstructs and how evenly it uses its codes.

    Args:
        train_images: (N, H, W, C) uint8; codes are counted on them.
        heldout_images: (M, H, W, C) uint8; errors are measured on them.

    Returns:
        ``psnr`` in dB, 10 log10(2² / mean squared error of all held-out pixels), and ``l1``, their mean
        absolute error: pixels in [-1, 1], reconstructions clamped to it. ``codebook_use``, the share of codes
        that occur, and ``perplexity``, the exponential of the entropy of their frequencies.
    """
    device = next(tokenizer.parameters()).device
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for images in _batches(train_images, device):
        counts += np.bincount(tokenizer.encode(images).flatten().cpu().numpy(), minlength=len(counts))
    absolute = squared = 0.0
    for images in _batches(heldout_images, device):
        errors = _reconstruct(tokenizer, images).clamp(-1, 1).double() - images
        absolute += errors.abs().sum().item()
        squared += errors.square().sum().item()
    mean_squared = max(squared / heldout_images.size, 1e-10)  # 106 dB at most: infinity is no JSON
    frequencies = counts[counts > 0] / counts.sum()
    return {
        "psnr": 10 * math.log10(4 / mean_squared),
        "l1": absolute / heldout_images.size,
        "codebook_use": float((counts > 0).mean()),
        "perplexity": float(np.exp(-(frequencies * np.log(frequencies)).sum())),
    }


def _reconstruct(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    return tokenizer.decode(tokenizer.encode(images))


def _batches(images: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(images), BATCH):
        yield image_data.to_tensor(images[start : start + BATCH]).to(device)
