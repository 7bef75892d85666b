"""Making the next items in the background while one is used."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def prefetched(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The same items in their order, made by a thread ``depth`` ahead; its errors are raised here."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        coming: deque[Any] = deque(pool.submit(next, iterator, end) for _ in range(depth))
        while (item := coming.popleft().result()) is not end:
            coming.append(pool.submit(next, iterator, end))
            yield item
