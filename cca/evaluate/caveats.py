"""What makes the numbers of an evaluation less than they look: warnings of one line each."""

import numpy as np

from cca.evaluate.samples import Features
from cca.evaluate.statistics import Statistics


def few_samples(statistics: Statistics, what: str) -> list[str]:
    """A warning if there are fewer samples than features: the covariance is singular."""
    count, dimension = statistics.count, len(statistics.mean)
    if count is None or count > dimension:
        return []
    return [
        f"{what}: N = {count} is not more than D = {dimension} features: FID is badly biased, "
        "comparable only at the same N"
    ]


def sorted_by_class(labels: np.ndarray | None, logits: np.ndarray | None, split_size: int) -> list[str]:
    """A warning if neighbours are far more often of one class than chance has it.

    Without labels the classes are guessed from the logits. With a single split order does not matter.
    """
    if labels is None:
        if logits is None:
            return []
        labels = logits.argmax(axis=1)
    if len(labels) <= split_size:
        return []
    alike = float((labels[1:] == labels[:-1]).mean())
    chance = float(((np.unique(labels, return_counts=True)[1] / len(labels)) ** 2).sum())
    if chance > 0.5 or alike < chance + 0.25 * (1 - chance):
        return []
    return [
        f"samples are sorted by class: {alike:.0%} of neighbours are of one class, {chance:.1%} by chance; "
        f"the Inception Score over splits of {split_size} is far too low: shuffle the samples"
    ]


def swapped_channels(reference: Features | None, samples: Features) -> list[str]:
    """A warning if the samples' mean colour fits the reference's much better with red and blue swapped."""
    if reference is None or reference.colour is None or samples.colour is None:
        return []
    as_given, swapped = (
        np.abs(colour - reference.colour).max() for colour in (samples.colour, samples.colour[::-1])
    )
    if as_given < 5 or swapped > as_given / 3:
        return []
    return ["samples look like BGR: their mean colour fits the reference's with red and blue swapped"]
