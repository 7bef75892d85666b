"""Counter-based random numbers: every draw is a function of the key that names it."""

import hashlib

import numpy as np
import torch


def generator(*key: int | str) -> np.random.Generator:
    """A Philox generator keyed by ``key``, e.g. ``generator("pairs", seed)``.

    The key is hashed (SHA-256, 128 bits of it), so that streams of different names or seeds are
    independent of each other and of the order in which they are asked for.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def seed_torch(*key: int | str) -> None:
    """Seed torch's global generators (weight initialisation, dropout) from ``key``."""
    torch.manual_seed(int(generator(*key).integers(2**63)))


def sample_uniforms(seed: int, samples: np.ndarray, count: int, stream: str = "sample") -> np.ndarray:
    """Uniform numbers in [0, 1), one row a sample: (len(samples), count) float64.

    Row i depends on ``(seed, samples[i])`` only, so a sample gets the same numbers in whatever
    batch, shard or process it is made, and for every model and guidance scale.
    """
    return np.stack([generator(stream, seed, int(index)).random(count) for index in samples])
