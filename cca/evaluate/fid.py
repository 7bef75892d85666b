"""Fréchet distance between two Gaussians (Heusel et al. 2017)."""

import numpy as np
import scipy.linalg

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
    if not all(np.isfinite(array).all() for array in (a.mean, b.mean, a.covariance, b.covariance)):
        raise CCAError("statistics are NaN or infinite: check the images and the extractor's weights")
    root_trace = np.sqrt(eigenvalues_of_product(a.covariance, b.covariance).clip(min=0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    distance = np.square(a.mean - b.mean).sum() + traces - 2 * root_trace
    return max(float(distance), 0.0)  # below zero by rounding only


def eigenvalues_of_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Eigenvalues (D,), rising, of ``a`` @ ``b``, both (D, D), symmetric, positive semi-definite."""
    try:  # by ?sygv: Cholesky of a; its QR iteration is the fastest where no vectors are asked for
        return scipy.linalg.eigh(b, a, type=2, driver="gv", eigvals_only=True, check_finite=False)
    except np.linalg.LinAlgError:
        factor = square_root_factor(a)
        return np.linalg.eigvalsh(factor.T @ b @ factor)


def square_root_factor(matrix: np.ndarray) -> np.ndarray:
    """L with L L' = ``matrix`` (D, D), symmetric positive semi-definite, singular included."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(eigenvalues.clip(min=0))
