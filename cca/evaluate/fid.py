"""Fréchet distance between two Gaussians (Heusel et al. 2017)."""

import torch
from torch import Tensor

from cca.errors import CCAError
from cca.evaluate.statistics import Statistics


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Squared Fréchet distance |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), of features' units squared.

    With A = L L', the trace of the root is the sum of the square roots of the eigenvalues of the
    symmetric L' B L: what `scipy.linalg.sqrtm` gives, exactly and faster. Singular covariances
    (fewer samples than features, a feature that never changes) are no error.

    Raises:
        CCAError: numbers of features that differ, or statistics that are NaN or infinite.
    """
    if a.mean.shape != b.mean.shape:
        raise CCAError(
            f"statistics of {len(a.mean)} and of {len(b.mean)} features cannot be compared: use one extractor"
        )
    mean_a, mean_b, cov_a, cov_b = (
        torch.from_numpy(array).to(torch.float64) for array in (a.mean, b.mean, a.covariance, b.covariance)
    )
    if not all(tensor.isfinite().all() for tensor in (mean_a, mean_b, cov_a, cov_b)):
        raise CCAError("statistics are NaN or infinite: check the images and the extractor's weights")
    factor = square_root_factor(cov_a)
    product = factor.T @ cov_b @ factor
    eigenvalues = torch.linalg.eigvalsh((product + product.T) / 2)
    root_trace = eigenvalues.clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root_trace
    return max(float(distance), 0.0)  # below zero by rounding only


def square_root_factor(matrix: Tensor) -> Tensor:
    """L with L L' = ``matrix`` (D, D), symmetric positive semi-definite, singular included."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        return factor
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    return vectors * eigenvalues.clamp(min=0).sqrt()
