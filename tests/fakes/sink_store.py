"""A store for the sink that fails on demand: before it applies a request, after, or between two of its parts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sinks.ledger import Coordinates, Range, Version
from sinks.register import LEASE_MS
from sinks.store import LeaseOver, Probe, Reading, Refused, Row, Unavailable, coordinates

Fault = Literal["none", "before", "after", "half", "forgets_token", "forgets_rows"]
"""half: a part of the block is applied. forgets_*: the engine ends while it applies, and keeps only one of the rows
and their token: a killed one has noted the token first, one that lost its power may have kept either.
"""

Gate = Callable[[str], Awaitable[Fault]]

POISON = "poison"
REMEMBERED_MS = LEASE_MS
"""A token is forgotten as soon as the writer may not rely on it any more."""


async def open_gate(_: str) -> Fault:
    await asyncio.sleep(0)
    return "none"


@dataclass
class Contents:
    """What a store holds, for all its clients; `now` is its clock (ms)."""

    now: int = 1_000_000
    ledger: list[Version] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)

    faulty: dict[str, str] = field(default_factory=dict)  # tables that refuse whatever comes, and why
    mended: bool = False  # poison is taken from now on, as by a table whose constraint was dropped

    def versions(self) -> list[Version]:
        """The ledger, of several versions with one number the one that was first."""
        first: dict[int, Version] = {}
        for version in self.ledger:
            first.setdefault(version.sequence, version)
        return [first[n] for n in sorted(first)]


class SinkStore:
    """One client of a store. `gate` is asked before each request what shall become of it."""

    def __init__(self, contents: Contents, gate: Gate = open_gate) -> None:
        self._gate = gate
        self._in = contents

    async def latest(self) -> Reading:
        await self._ask("latest")
        versions = self._in.versions()
        return Reading(versions[-1] if versions else None, self._in.now)

    async def version(self, sequence: int) -> Version | None:
        await self._ask("version")
        return next((v for v in self._in.versions() if v.sequence == sequence), None)

    async def append(self, version: Version, token: str, lease: int) -> None:
        fault = await self._ask("append")
        self._in_time(lease)
        if fault == "before":
            raise Unavailable("down")
        if self._claim("ledger", token, fault) and fault != "forgets_rows":
            self._in.ledger.append(version)
        if fault != "none":
            raise Unavailable("gone")

    async def insert(self, table: str, rows: Sequence[Row], token: str, lease: int) -> None:
        fault = await self._ask(f"insert {table}")
        self._in_time(lease)
        if fault == "before":
            raise Unavailable("down")
        self._refuse(table, rows)
        # A table is partitioned: each partition's share of a block is applied, and deduplicated, by itself.
        for share in (0, 1):
            part = [row for row in rows if row[-2] % 5 // 3 == share]
            if part and self._claim(table, f"{share}:{token}", fault) and fault != "forgets_rows":
                self._in.tables.setdefault(table, []).extend(part)
            if fault == "half":
                break
        if fault != "none":
            raise Unavailable("gone")

    async def present(self, table: str, ranges: Iterable[Range]) -> set[Coordinates]:
        await self._ask(f"present {table}")
        there = {coordinates(row) for row in self._in.tables.get(table, [])}
        return {at for at in there if any(at in r for r in ranges)}

    @contextlib.asynccontextmanager
    async def probing(self, table: str) -> AsyncIterator[Probe]:
        async def probe(rows: Sequence[Row]) -> None:
            await self._ask("probe")
            self._refuse(table, rows)

        yield probe

    async def fault(self, table: str) -> str | None:
        await self._ask("fault")
        return self._in.faulty.get(table)

    async def _ask(self, what: str) -> Fault:
        fault = await self._gate(what)
        if fault != "none" and not what.startswith(("append", "insert")):
            raise Unavailable("down")
        return fault

    def _in_time(self, lease: int) -> None:
        if self._in.now > lease:
            raise LeaseOver("late")

    def _refuse(self, table: str, rows: Sequence[Row]) -> None:
        poisoned = not self._in.mended and any(row[0] == f"{POISON} {table}" for row in rows)
        if poisoned or table in self._in.faulty:
            raise Refused("a value is out of range", 69)

    def _claim(self, table: str, token: str, fault: Fault) -> bool:
        known = self._in.tokens.setdefault(table, {})
        if known.get(token, -1) >= self._in.now:
            return False
        if fault != "forgets_token":
            known[token] = self._in.now + REMEMBERED_MS
        return True
