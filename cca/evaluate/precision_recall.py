"""Improved precision and recall (Kynkäänniemi et al. 2019) as OpenAI's ADM suite computes them.

Squared Euclidean distances block by block: nothing of N x M is ever held. A set's own distances are
symmetric, so only the blocks on and above the diagonal are computed.
"""

from collections.abc import Callable
from itertools import combinations_with_replacement, product

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cca.errors import CCAError

Distances = Callable[[Tensor, Tensor], Tensor]

BAR_FROM = 2e12
"""Multiplications from which on a progress bar is shown; about 20 s on two cores."""


def precision_recall(
    reference: np.ndarray,
    samples: np.ndarray,
    k: int = 3,
    block_size: int = 2048,
    adm_float16: bool = False,
    device: torch.device | str = "cpu",
) -> tuple[float, float]:
    """Fraction of samples inside the reference's manifold, and of references inside the samples'.

    A set's manifold is the union of balls around its points that reach the k-th nearest other point;
    the border belongs to a ball.

    Args:
        reference: features (M, D); computed with in their own precision.
        samples: features (N, D).
        k: neighbours.
        block_size: points a side of a block of distances; does not change the result, or with ``adm_float16``
            only where blocks overflow.
        adm_float16: distances in float16, as the suite; blocks that overflow in float32.
        device: where the blocks are computed.

    Raises:
        CCAError: a set of k points or fewer, features that do not match or are not finite.
    """
    for name, features in (("reference", reference), ("samples", samples)):
        if len(features) <= k:
            raise CCAError(
                f"precision and recall with k = {k} need more than {k} {name}, got {len(features)}"
            )
        if not np.isfinite(features).all():
            raise CCAError(f"features of the {name} are NaN or infinite: check images and weights")
    if reference.shape[1] != samples.shape[1]:
        raise CCAError(f"{reference.shape[1]} features of the reference, {samples.shape[1]} of the samples")
    dtype = np.result_type(reference, samples, np.float32)
    distances = adm_distances if adm_float16 else squared_distances
    blocks = [
        torch.from_numpy(np.asarray(features, dtype)).split(block_size) for features in (reference, samples)
    ]
    work = len(samples) * (len(samples) / 2 + len(reference)) + len(reference) ** 2 / 2
    quiet = True if work * reference.shape[1] < BAR_FROM else None
    total = sum(len(side) * (len(side) + 1) // 2 for side in blocks) + len(blocks[0]) * len(blocks[1])
    with tqdm(total=total, desc="precision, recall", unit="block", disable=quiet) as bar:
        reference_radii, sample_radii = (squared_radii(side, k, distances, device, bar) for side in blocks)
        reached_samples = [torch.zeros(len(block), dtype=torch.bool) for block in blocks[1]]
        reached_references = [torch.zeros(len(block), dtype=torch.bool) for block in blocks[0]]
        for i, j in product(range(len(blocks[0])), range(len(blocks[1]))):
            between = distances(blocks[0][i].to(device), blocks[1][j].to(device))
            reached_samples[j] |= (between <= reference_radii[i][:, None]).any(dim=0).cpu()
            reached_references[i] |= (between <= sample_radii[j]).any(dim=1).cpu()
            bar.update()
    precision, recall = (torch.cat(side).double().mean() for side in (reached_samples, reached_references))
    return float(precision), float(recall)


def squared_radii(
    blocks: tuple[Tensor, ...], k: int, distances: Distances, device: torch.device | str, bar: tqdm
) -> list[Tensor]:
    """Squared distance of every point to its k-th nearest other, in the blocks (B, D) that points come in."""
    nearest = [torch.empty(len(block), 0, device=device, dtype=block.dtype) for block in blocks]

    def merge(index: int, candidates: Tensor) -> None:
        smallest = candidates.topk(min(k + 1, candidates.shape[1]), dim=1, largest=False).values
        both = torch.cat([nearest[index], smallest], dim=1)
        nearest[index] = both.topk(min(k + 1, both.shape[1]), dim=1, largest=False).values

    for i, j in combinations_with_replacement(range(len(blocks)), 2):
        within = distances(blocks[i].to(device), blocks[j].to(device))
        merge(i, within)
        if i != j:
            merge(j, within.T)
        bar.update()
    return [rows.amax(dim=1) for rows in nearest]  # k + 1 smallest, the point itself among them


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, D) and (M, D) to squared distances (N, M); within rounding error of 0 they are 0.

    So equal points are at distance 0 whatever block they are in.
    """
    norms = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    result = torch.addmm(norms, a, b.T, alpha=-2)
    norms *= 16 * torch.finfo(a.dtype).eps
    return result.masked_fill_(result <= norms, 0)


def adm_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances rounded to float16 after every operation; in float32 if a block overflows.

    Sums are accumulated in float32, as GPUs do.
    """

    def distances(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
        rows, columns = (x.square().to(dtype).float().sum(dim=1).to(dtype) for x in (a, b))
        return (rows[:, None] - 2 * (a @ b.T).to(dtype) + columns).clamp(min=0)

    a, b = a.float(), b.float()
    half = distances(a.half().float(), b.half().float(), torch.float16)
    return half.float() if half.isfinite().all() else distances(a, b, torch.float32)
