"""Mean and covariance of features, gathered batch by batch."""

from dataclasses import dataclass

import numpy as np

from cca.errors import CCAError


@dataclass(frozen=True)
class Statistics:
    """A Gaussian fitted to features.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, divided by ``count - 1``.
        count: number of samples; None where a file of statistics does not say.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None = None

    @classmethod
    def of(cls, features: np.ndarray) -> "Statistics":
        """Statistics of ``features`` (N, D), N >= 2; the same numbers as `numpy.mean` and `numpy.cov`."""
        gathered = Accumulator(features.shape[1])
        for start in range(0, len(features), 8192):
            gathered.add(features[start : start + 8192])
        return gathered.statistics()


class Accumulator:
    """Streaming mean and covariance of ``dimension`` features, in float64.

    Chan, Golub and LeVeque's pairwise update, which does not cancel when the mean is large.
    """

    def __init__(self, dimension: int):
        self.count = 0
        self._mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))
        self._product = np.empty_like(self._scatter)  # new memory for every batch costs a quarter of the time
        self._centred = np.empty((0, dimension))

    def add(self, features: np.ndarray) -> None:
        """Take in a batch of features (B, D)."""
        size = len(features)
        if not size:
            return
        if size > len(self._centred):
            self._centred = np.empty((size, len(self._mean)))
        with np.errstate(invalid="ignore"):  # `statistics` looks for NaN
            mean = np.mean(features, axis=0, dtype=np.float64)
            centred = np.subtract(features, mean, out=self._centred[:size])
            change = mean - self._mean
            total = self.count + size
            self._scatter += np.dot(centred.T, centred, out=self._product)  # NumPy computes half of it
            self._scatter += np.outer(change, change) * (self.count * size / total)
            self._mean += change * (size / total)
        self.count = total

    def statistics(self) -> Statistics:
        """The statistics of all batches so far.

        Raises:
            CCAError: fewer than two samples, or features that are NaN or infinite.
        """
        if self.count < 2:
            raise CCAError(f"a covariance needs at least 2 samples, got {self.count}")
        covariance, mean = self._scatter / (self.count - 1), self._mean.copy()
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise CCAError("features are NaN or infinite: check the images and the extractor's weights")
        return Statistics(mean, covariance, self.count)
