"""What families of models share: checked inputs, and keys and values kept while decoding."""

from torch import Tensor

from cca.errors import CCAError


class Cache:
    """Keys and values of one layer's tokens so far, in memory taken once, at the first tokens."""

    def __init__(self, length: int):
        self.length, self.filled = length, 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, H, n, D) of n tokens; all so far: views (B, H, filled, D)."""
        B, H, n, D = keys.shape
        if self.filled == 0:  # here, because only now the dtype is known: it depends on autocast
            self.keys, self.values = keys.new_empty(2, B, H, self.length, D)
        self.keys[:, :, self.filled : self.filled + n] = keys
        self.values[:, :, self.filled : self.filled + n] = values
        self.filled += n
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]


def check_integers(values: Tensor, what: str, shape: tuple[int, ...], limit: int) -> None:
    """Refuse ``values`` of another shape, or not in 0..limit - 1; reads two numbers from the device.

    Raises:
        CCAError: names ``what`` and the first thing wrong.
    """
    check_shape(values, what, shape)
    low, high = values.aminmax()
    low, high = int(low), int(high)
    if low < 0 or high >= limit:
        raise CCAError(f"{what} must be in 0..{limit - 1}, got {low if low < 0 else high}")


def check_shape(values: Tensor, what: str, shape: tuple[int, ...]) -> None:
    """Refuse ``values`` of another shape, with a `CCAError` that names ``what``."""
    if values.shape != shape:
        raise CCAError(f"{what} have shape {tuple(values.shape)}, not {shape}")
