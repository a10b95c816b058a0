"""Notices hanging transactions: a partition's stable end stands still while records lie behind it."""

from collections.abc import Hashable


class Stability:
    """Remembers how far each partition was stable. Times in seconds of any one clock."""

    def __init__(self) -> None:
        self._stable: dict[Hashable, tuple[int, float]] = {}

    def hanging_s(self, part: Hashable, stable: int | None, end: int | None, now: float) -> float:
        """For how long records of `part` have been hidden by one open transaction; 0 where none are.

        `stable` is the last stable offset, `end` the end of the partition (both None before the first fetch).
        """
        if stable is None or end is None or stable < 0 or stable >= end:
            self._stable.pop(part, None)
            return 0.0
        before = self._stable.get(part)
        if before is None or before[0] != stable:
            self._stable[part] = stable, now
            return 0.0
        return now - before[1]

    def forget(self) -> None:
        """The partitions are other ones now."""
        self._stable.clear()
