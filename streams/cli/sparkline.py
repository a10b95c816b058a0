"""A row of figures as a line of small bars."""

from collections.abc import Sequence
from typing import Final

_BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None]) -> str:
    """One character a value, between the lowest bar (zero) and the highest (the largest); a space where it is None.

    Values are not negative.
    """
    most = max((v for v in values if v is not None), default=0.0)
    return "".join(" " if v is None else _BARS[_level(v, most)] for v in values)


def _level(value: float, most: float) -> int:
    if value <= 0 or most <= 0:
        return 0
    return max(1, min(len(_BARS) - 1, round(value / most * (len(_BARS) - 1))))
