"""Values that are made once for each configuration, and go with it."""

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from schemas.config import Config

T = TypeVar("T")


class PerConfig(Generic[T]):
    """A value of each configuration that is asked about, kept for as long as anything else keeps the configuration.

    A value must not refer to its configuration: both would stay for ever.
    """

    def __init__(self, make: Callable[[Config], T]) -> None:
        self._make = make
        # By the configuration's id, which is another's only once it is gone.
        self._values: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._values)

    def of(self, config: Config) -> T:
        """The value of a configuration; raises what `make` raises."""
        key = id(config)
        if key not in self._values:
            self._values[key] = self._make(config)
            weakref.finalize(config, self._values.pop, key, None).atexit = False
        return self._values[key]
