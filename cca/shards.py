"""Cutting work into shards that do not change its result, and putting them together again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cca.errors import CCAError
from cca.files.archives import Archive


def shard_range(items: int, batch_size: int, shard: int, shards: int) -> tuple[int, int]:
    """First and one-past-last item of a shard: a range of whole batches.

    Raises:
        CCAError: no such shard, or more shards than batches.
    """
    batches = -(-items // batch_size)
    if not 0 <= shard < shards:
        raise CCAError(f"shard {shard} is out of range 0..{shards - 1}")
    if shards > batches:
        raise CCAError(f"{shards} shards of {batches} batches: lower the number of shards or batch_size")
    first, last = (index * batches // shards for index in (shard, shard + 1))
    return first * batch_size, min(last * batch_size, items)


@dataclass(frozen=True)
class Place:
    """Which items of a whole a shard's file holds: ``count`` of ``total`` from ``start``."""

    path: Path
    start: int
    count: int
    total: int

    @classmethod
    def of(cls, archive: Archive, count: int) -> Self:
        """That of an ``.npz`` of ``count`` items which says its ``start`` and ``total``, or a `CCAError`."""
        return cls(archive.path, archive.integer("start"), count, archive.integer("total"))


def whole(folder: Path, places: Sequence[Place], what: str, again: str) -> list[int]:
    """The order in which shards are the whole, as indices of ``places``, of which there is one or more.

    Args:
        folder: where the shards are, for messages.
        what: plural of the items: "samples".
        again: what to do about a missing shard: "sample the missing shards again".

    Raises:
        CCAError: shards that are missing, there twice, or of a whole of another size.
    """
    order = sorted(range(len(places)), key=lambda index: (places[index].start, places[index].total))
    expected, total = 0, places[order[0]].total
    for place in (places[index] for index in order):
        if place.total != total:
            raise CCAError(f"{place.path}: a shard of {place.total} {what} among shards of {total}")
        if place.start != expected:
            problem = "are missing" if place.start > expected else "are there twice"
            first, last = sorted((expected, place.start))
            raise CCAError(f"{folder}: {what} {first} to {last - 1} {problem}: {again}")
        expected += place.count
    if expected != total:
        raise CCAError(f"{folder}: {expected} of {total} {what}: {again}")
    return order
