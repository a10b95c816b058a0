"""Finds the rows of a block that the store refuses, by halving."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sinks.store import Probe, Refused, Row

STRAIGHT: Final = 20
"""So many rows refused one after the other, and none taken: then it may not be the rows."""


async def isolate(
    rows: Sequence[Row], probe: Probe, sound: Callable[[], Awaitable[bool]]
) -> list[tuple[Row, Refused]] | None:
    """The rows that `probe` refuses, in order, each with the error it alone gives.

    `probe` must keep nothing. With k of n rows refused it is called about k * log2(n) times. When many rows in a row
    are refused, or all are, `sound` is asked once whether the table is sound; None when it isn't.
    """
    found: list[tuple[Row, Refused]] = []
    pending: list[Sequence[Row]] = [rows]
    straight, vouched = 0, False
    while pending:
        part = pending.pop()
        try:
            await probe(part)
        except Refused as error:
            if len(part) > 1:
                middle = len(part) // 2
                pending += [part[middle:], part[:middle]]
                continue
            found.append((part[0], error))
            straight += 1
            if not vouched and (straight >= STRAIGHT or len(found) == len(rows)):
                vouched = await sound()
                if not vouched:
                    return None
        else:
            straight = 0
    return found
