"""Cutting work into shards that do not change its result."""

from cca.errors import CCAError


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
