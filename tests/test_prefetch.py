"""Items that are made ahead: in order, errors and all, and not far ahead."""

import pytest

from cca.errors import CCAError
from cca.prefetch import prefetched


def test_prefetching_keeps_order_and_raises_the_makers_errors() -> None:
    assert list(prefetched(iter(range(50)))) == list(range(50))

    def fails() -> None:
        yield 1
        raise CCAError("broken")

    taken = prefetched(fails())
    assert next(taken) == 1
    with pytest.raises(CCAError, match="broken"):
        next(taken)


def test_prefetching_does_not_run_ahead() -> None:
    made = []
    items = prefetched((made.append(i) or i for i in range(1000)), depth=2)
    next(items)
    items.close()
    assert len(made) < 10
