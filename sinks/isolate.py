"""Finds the rows of a block that the store refuses, by halving."""

from collections.abc import Awaitable, Callable, Sequence

from sinks.store import Refused, Row

Probe = Callable[[Sequence[Row]], Awaitable[None]]


async def isolate(rows: Sequence[Row], probe: Probe) -> list[tuple[Row, Refused]]:
    """The rows that `probe` refuses, in order, each with the error it alone gives.

    `probe` must keep nothing. With k of n rows refused it is called about k * log2(n) times.
    """
    found: list[tuple[Row, Refused]] = []
    pending: list[Sequence[Row]] = [rows]
    while pending:
        part = pending.pop()
        try:
            await probe(part)
        except Refused as error:
            if len(part) == 1:
                found.append((part[0], error))
            else:
                middle = len(part) // 2
                pending += [part[middle:], part[:middle]]
    return found
