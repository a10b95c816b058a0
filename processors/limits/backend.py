"""Where buckets live. A limiter is an algorithm (bucket.py) times a backend."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from processors.limits.bucket import Level

T = TypeVar("T")


class Backend(Protocol):
    """Holds levels by key."""

    def update(self, key: str, change: Callable[[Level | None], tuple[Level, T]]) -> T:
        """Replace the level of `key` by what `change` makes of it, as one step; return what `change` says."""
        ...


class MemoryBackend:
    """Levels in this process: exact where one process owns a key, as one scheduler owns a model."""

    def __init__(self) -> None:
        self._levels: dict[str, Level] = {}

    def update(self, key: str, change: Callable[[Level | None], tuple[Level, T]]) -> T:
        self._levels[key], answer = change(self._levels.get(key))
        return answer
