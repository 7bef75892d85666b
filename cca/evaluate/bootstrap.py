"""Intervals for the five metrics, from features that are there already.

What varies is the samples, N independent draws from a model. The reference is part of the benchmark and
stays as it is. An interval is meant to hold the metric's mean over such draws AT THIS N: it does not take
away FID's bias, about C / N.

Resampling images with replacement and computing the metrics again is unsound: a resample has fewer distinct
images, so FID moves up by its bias once more, and duplicates have neighbours at distance 0, so radii
collapse. Instead each metric is expanded to first order in the weights of the samples, which gives every
sample its contribution, and the mean of the contributions is resampled (percentile bootstrap):

- FID, sFID: the derivative of the distance by a sample's weight. It has no bias to repeat, and costs one
  eigendecomposition whatever the number of resamples. It also holds for singular covariances, whose range no
  weighting of the same samples leaves. Near a perfect model, where the first order vanishes, and for N near
  or below the number of features it errs to the wide side.
- Inception Score: the same derivative, within each split.
- Recall: N - 1 times what leaving the sample out takes from it (jackknife). Radii are those without the
  sample, exactly. Its variance is too large rather than too small (Efron & Stein 1981). Drawing references
  while the samples' balls stay would give too narrow an interval: whole regions are covered by one sample's
  ball or another's. The interval is joined with Wilson's of a proportion of the references: at recall 0 and
  1, where no single sample matters, the jackknife has no width.
- Precision is a proportion of independent samples, as the reference's balls are fixed: Wilson's interval,
  which has a width at 0 and 1 as well.

Samples of fixed numbers a class vary less than independent ones; for them all intervals are wide.
"""

from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cca.evaluate.fid import square_root_factor
from cca.evaluate.inception_score import divergences
from cca.evaluate.precision_recall import BAR_FROM, Distances, adm_distances, squared_distances
from cca.evaluate.protocol import EvaluationSettings
from cca.evaluate.samples import Features
from cca.evaluate.statistics import Statistics
from cca.rng import generator

LEVEL = 0.95
SMALLEST = {"fid": 0.0, "sfid": 0.0, "inception_score": 1.0, "recall": 0.0}
LARGEST = {"recall": 1.0}


Interval = dict[str, float]


def intervals(
    values: dict[str, float | None],
    reference_statistics: dict[str, Statistics],
    sample_statistics: dict[str, Statistics],
    reference: Features | None,
    samples: Features,
    settings: EvaluationSettings,
    resamples: int,
    device: torch.device | str = "cpu",
) -> dict[str, Interval | None]:
    """``low`` and ``high`` of the 95 % interval of each metric in ``values``; None where there is none.

    Arguments as of `cca.evaluate.evaluator.compute`, and ``resamples``, their number B. The same samples
    are drawn for all metrics, by a generator of fixed seed.
    """
    found: dict[str, Interval | None] = dict.fromkeys(values)
    contributions = {}
    for metric, name in (("fid", "pool"), ("sfid", "spatial")):
        if values[metric] is not None:
            sides = reference_statistics[name], sample_statistics[name]
            contributions[metric] = frechet_contributions(*sides, getattr(samples, name))
    if values["inception_score"] is not None and samples.logits is not None:
        contributions["inception_score"] = score_contributions(samples.logits, settings.is_split_size)
    precision, recall = values["precision"], values["recall"]
    if precision is not None:
        found["precision"] = wilson(precision, len(samples.pool))
    if recall is not None and reference is not None and len(samples.pool) > settings.k + 1:
        contributions["recall"] = recall_contributions(
            reference.pool, samples.pool, settings.k, adm_float16=settings.adm_float16, device=device
        )
    errors = resampled_means(np.stack(list(contributions.values())), resamples)
    for metric, error in zip(contributions, errors, strict=True):
        bounds = np.quantile(values[metric] + error, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = bounds.clip(SMALLEST[metric], LARGEST.get(metric))
        found[metric] = {"low": float(low), "high": float(high)}
    if (resampled := found["recall"]) is not None and recall is not None and reference is not None:
        both = (resampled, wilson(recall, len(reference.pool)))
        found["recall"] = {"low": min(i["low"] for i in both), "high": max(i["high"] for i in both)}
    return found


def resampled_means(contributions: np.ndarray, resamples: int) -> np.ndarray:
    """Means of rows (R, N) over ``resamples`` draws of N columns with replacement: (R, resamples)."""
    rng, count = generator("bootstrap"), contributions.shape[1]
    draws = (rng.integers(count, size=count) for _ in range(resamples))
    return np.stack([contributions[:, drawn].mean(axis=1) for drawn in draws], axis=1)


def wilson(proportion: float, count: int) -> Interval:
    """Wilson's score interval of a proportion of ``count`` independent decisions."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre = proportion + z**2 / (2 * count)
    half = z * np.sqrt(proportion * (1 - proportion) / count + z**2 / (4 * count**2))
    low, high = (float(bound / (1 + z**2 / count)) for bound in (centre - half, centre + half))
    return {"low": max(low, 0.0), "high": min(high, 1.0)}


def frechet_contributions(
    reference: Statistics, samples: Statistics, features: np.ndarray, block_size: int = 4096
) -> np.ndarray:
    """Derivative of the Fréchet distance by each sample's weight: (N,), mean 0.

    With the reference's covariance A = L L' and the samples' B, the derivative of tr (A B)^(1/2) along dB is
    tr((L' B L)^(-1/2) L' dB L) / 2; the inverse root is a pseudo-inverse where B is singular.

    Args:
        reference: of D features.
        samples: of ``features``.
        features: (N, D), N >= 2.
        block_size: rows at a time.
    """
    factor = torch.from_numpy(square_root_factor(reference.covariance))
    product = factor.T @ torch.from_numpy(samples.covariance) @ factor
    eigenvalues, vectors = torch.linalg.eigh((product + product.T) / 2)
    positive = eigenvalues > eigenvalues[-1] * len(eigenvalues) * torch.finfo(torch.float64).eps
    whiten = factor @ vectors[:, positive] * eigenvalues[positive] ** -0.25
    change = torch.from_numpy(2 * (samples.mean - reference.mean))
    parts = []
    for start in range(0, len(features), block_size):
        block = features[start : start + block_size].astype(np.float64)
        centred = torch.from_numpy(block - samples.mean)
        spread = centred.square().sum(dim=1) - (centred @ whiten).square().sum(dim=1)
        parts.append(centred @ change + spread * len(features) / (len(features) - 1))
    derivative = torch.cat(parts)
    return (derivative - derivative.mean()).numpy()


def score_contributions(logits: np.ndarray, split_size: int) -> np.ndarray:
    """Derivative of the Inception Score by each sample's weight: (N,), mean 0 in every split.

    Of a split's exp(mean KL) it is exp(mean KL) (KL - mean KL): the change of the mean class distribution
    cancels.
    """
    parts, splits = [], range(0, len(logits), split_size)
    for start in splits:
        divergence = divergences(logits[start : start + split_size])
        weight = len(logits) / (len(splits) * len(divergence))
        parts.append(weight * divergence.mean().exp() * (divergence - divergence.mean()))
    return torch.cat(parts).numpy()


def recall_contributions(
    reference: np.ndarray,
    samples: np.ndarray,
    k: int,
    adm_float16: bool = False,
    device: torch.device | str = "cpu",
    block_size: int = 4096,
) -> np.ndarray:
    """N - 1 times what leaving out each sample takes from recall, less the mean of it: (N,).

    Leaving out a sample removes its ball and lets the balls of those it is a neighbour of grow to their next
    neighbour. Arguments as of `cca.evaluate.precision_recall.precision_recall`, and N > k + 1.
    """
    distances = adm_distances if adm_float16 else squared_distances
    dtype = np.result_type(reference, samples, np.float32)
    references, blocks = (
        torch.from_numpy(np.asarray(side, dtype)).split(block_size) for side in (reference, samples)
    )
    starts = range(0, len(samples), block_size)
    quiet = True if len(samples) * (len(samples) + len(reference)) * samples.shape[1] < BAR_FROM else None
    lost = torch.zeros(len(samples), dtype=torch.int64, device=device)
    with tqdm(total=len(blocks) + len(references), desc="recall, interval", disable=quiet) as bar:
        found = []
        for index in range(len(blocks)):
            found.append(nearest(blocks, index, k + 1, distances, device))
            bar.update()
        radii, neighbours = (torch.cat(part) for part in zip(*found, strict=True))
        for block in references:
            block = block.to(device)
            covering = torch.zeros(len(block), dtype=torch.int64, device=device)
            last = torch.zeros_like(covering)
            pairs = []
            for start, others in zip(starts, blocks, strict=True):
                between = distances(block, others.to(device))
                now, grown = (radii[start : start + len(others), column] for column in (k - 1, k))
                inside = between <= now
                last = torch.where(inside.any(dim=1), start + inside.byte().argmax(dim=1), last)
                covering += inside.sum(dim=1)
                held, grower = (~inside & (between <= grown)).nonzero(as_tuple=True)
                pairs.append(torch.stack([held, start + grower], dim=1))
            lost += losses(covering, last, torch.cat(pairs), neighbours[:, :k])
            bar.update()
    taken = lost.cpu().numpy() / len(reference)
    return (len(samples) - 1) * (taken - taken.mean())


def nearest(
    blocks: tuple[Tensor, ...], index: int, count: int, distances: Distances, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Squared distances, ascending, and indices of the ``count`` nearest others of a block's rows."""
    block, start = blocks[index].to(device), 0
    values = torch.empty(len(block), 0, dtype=block.dtype, device=device)
    indices = torch.empty(len(block), 0, dtype=torch.int64, device=device)
    for number, others in enumerate(blocks):
        within = distances(block, others.to(device))
        if number == index:
            within.fill_diagonal_(torch.inf)
        near = within.topk(min(count, len(others)), dim=1, largest=False)
        values, indices = torch.cat([values, near.values], 1), torch.cat([indices, start + near.indices], 1)
        values, order = values.topk(min(count, values.shape[1]), dim=1, largest=False)
        indices = indices.gather(1, order)
        start += len(others)
    return values, indices


def losses(covering: Tensor, last: Tensor, pairs: Tensor, neighbours: Tensor) -> Tensor:
    """By how many fewer references are covered without each sample: (N,), negative where more are.

    Args:
        covering: balls that hold each reference (M,).
        last: one of them (M,).
        pairs: references and samples whose ball holds the reference only once it has grown (P, 2).
        neighbours: the k nearest others of each sample (N, k), whose leaving lets its ball grow.
    """
    count = len(neighbours)
    pairs = pairs[covering[pairs[:, 0]] <= 1]
    codes = (pairs[:, :1] * count + neighbours[pairs[:, 1]]).unique()  # each reference and sample once
    held, left_out = codes // count, codes % count
    lost = torch.bincount(last[covering == 1], minlength=count)
    gained = left_out[(covering[held] == 0) | (last[held] == left_out)]
    return lost - torch.bincount(gained, minlength=count)
