"""Which partition a ledger key lives on: Kafka's murmur2, alike for every writer of `llm.tenant-events`."""

from functools import lru_cache
from typing import Final

_MASK: Final = 0xFFFFFFFF
_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 hash of `data`, unsigned, with the seed that Kafka's Java client uses."""
    length = len(data)
    whole = length & ~3
    h = (_SEED ^ length) & _MASK
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _MULTIPLIER & _MASK
        k = (k ^ k >> 24) * _MULTIPLIER & _MASK
        h = (h * _MULTIPLIER & _MASK) ^ k
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    h = (h ^ h >> 13) * _MULTIPLIER & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=65536)
def partition_of(key: str, count: int) -> int:
    """The partition (from 0) of ledger key `key` among `count` partitions.

    Raises ValueError where `count` is not positive.
    """
    if count <= 0:
        raise ValueError(f"a topic has at least one partition, not {count}")
    return (murmur2(key.encode()) & 0x7FFFFFFF) % count
