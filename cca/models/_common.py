"""What families of models share: checks of their inputs."""

from torch import Tensor

from cca.errors import CCAError


def check_integers(values: Tensor, what: str, shape: tuple[int, ...], limit: int) -> None:
    """Refuse ``values`` of another shape, or not in 0..limit - 1; reads two numbers from the device.

    On the meta device they have no values to check.

    Raises:
        CCAError: names ``what`` and the first thing wrong.
    """
    check_shape(values, what, shape)
    if values.is_meta:
        return
    low, high = (int(extreme) for extreme in values.aminmax())
    if low < 0 or high >= limit:
        raise CCAError(f"{what} must be in 0..{limit - 1}, got {low if low < 0 else high}")


def check_shape(values: Tensor, what: str, shape: tuple[int, ...]) -> None:
    """Refuse ``values`` of another shape, with a `CCAError` that names ``what``."""
    if values.shape != shape:
        raise CCAError(f"{what} have shape {tuple(values.shape)}, not {shape}")


def check_finite_logits(logits: Tensor, family: str) -> None:
    """Refuse the last logits of sampling if they are not finite, with a `CCAError`; reads the device once."""
    if not logits.isfinite().all():
        raise CCAError(f"{family}: sampling met logits that are not finite; are the weights damaged?")
