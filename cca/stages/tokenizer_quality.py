"""How good a tokenizer is: errors, use of its codes, and the FID of reconstructed training images (rFID)."""

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from cca import tokenizers
from cca.data import images as image_data
from cca.data.files import FileImages, of_size
from cca.device import pick
from cca.errors import CCAError
from cca.evaluate.evaluator import evaluate
from cca.evaluate.protocol import EvaluationSettings
from cca.files import atomic, cache_folder, write_json
from cca.rng import generator
from cca.stages.sampling import PostProcessing, to_uint8
from cca.tokenizers import Tokenizer

BATCH, PIXELS = 250, 2**22  # most images, and most of their pixels, at a time


def run(
    settings: EvaluationSettings,
    *,
    images: Path,
    tokenizer: Path,
    reference: Path,
    weights: Path | None = None,
    out: Path,
) -> dict:
    """Stage ``quality``: write `errors` of the held-out images, `use` of the codes, and ``rfid`` as JSON.

    The codes are those of ``num_images`` training images, ``settings.reference_images`` at most. ``rfid``
    is the FID of these images' reconstructions against the reference batch: what a model would score that
    reproduced the codes of its training images. It is by the tier's evaluator, whose whole result is kept
    as ``evaluation``.

    Raises:
        CCAError: files that are damaged or do not belong together.
    """
    data, device = image_data.load(images), pick()
    image_data.require_heldout(data, images)
    coder = tokenizers.load(tokenizer).to(device)
    order = generator("reconstructions", settings.reference_seed).permutation(len(data.train_images))
    squares = of_size(data.train_images, coder.image_size, images)
    chosen = squares[np.sort(order[: settings.reference_images])]
    size = data.train_images.shape[1]  # the reference's
    postprocessing = PostProcessing(size=None if size == coder.image_size else size)
    codes, pictures = [], []
    with torch.inference_mode():
        for batch in _batches(chosen, device):
            codes.append(coder.encode(batch))
            pictures.append(to_uint8(coder.decode(codes[-1]), postprocessing))
    with TemporaryDirectory() as folder:
        samples = Path(folder, "reconstructions.npz")
        try:
            with atomic(samples) as temporary:
                np.savez(temporary, arr_0=np.concatenate(pictures))
        except CCAError as error:
            raise CCAError(f"{out}: its reconstructions found no place: {error}") from None
        evaluation = evaluate(reference, samples, settings, weights=weights, cache=cache_folder("features"))
    measured = {
        **errors(coder, of_size(data.heldout_images, coder.image_size, images)),
        **use(torch.cat(codes).cpu().numpy(), coder.vocab_size),
        "rfid": evaluation["fid"],
        "num_images": len(chosen),
    }
    write_json(out, measured | {"evaluation": evaluation})
    return measured


@torch.inference_mode()
def errors(tokenizer: Tokenizer, images: np.ndarray | FileImages) -> dict[str, float]:
    """How far reconstructions are from images (N, H, W, C) uint8, in eval mode.

    Returns:
        ``psnr`` in dB, 10 log10(2² / mean squared error of all pixels), and ``l1``, their mean absolute
        error: pixels in [-1, 1], reconstructions clamped to it.
    """
    absolute = squared = 0.0
    for batch in _batches(images, next(tokenizer.parameters()).device):
        difference = tokenizer.decode(tokenizer.encode(batch)).clamp(-1, 1).double() - batch
        absolute += difference.abs().sum().item()
        squared += difference.square().sum().item()
    values = math.prod(images.shape)
    mean_squared = max(squared / values, 1e-10)  # 106 dB at most: infinity is no JSON
    return {"psnr": 10 * math.log10(4 / mean_squared), "l1": absolute / values}


def use(codes: np.ndarray, vocab_size: int) -> dict[str, float]:
    """``codebook_use``, the share of codes that occur, and ``perplexity``, exp of their entropy in nats."""
    counts = np.bincount(codes.flatten(), minlength=vocab_size)
    frequencies = counts[counts > 0] / counts.sum()
    return {
        "codebook_use": float((counts > 0).mean()),
        "perplexity": float(np.exp(-(frequencies * np.log(frequencies)).sum())),
    }


def _batches(images: np.ndarray | FileImages, device: torch.device) -> Iterator[Tensor]:
    size = max(1, min(BATCH, PIXELS // (images.shape[1] * images.shape[2])))
    for start in range(0, len(images), size):
        yield image_data.to_tensor(images[start : start + size]).to(device)
