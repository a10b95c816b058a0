"""Brings the database to this version: forward only, each file once, by one runner at a time.

A runner takes a migration by writing `started` under a deduplication token, which the engine applies for one runner
only, and reads back whether it was the one. The others wait for `applied`; where that doesn't come, because the
runner died, they take it again. Statements can be run twice (IF NOT EXISTS), so that this is safe.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sinks.clickhouse import Access, ClickHouse
from sinks.queries import Migration, filled, migrations, query

log = logging.getLogger(__name__)

_STUCK_MS: Final = 60_000
_POLL_S: Final = 0.2


class MigrationFailed(Exception):
    """A migration can't be applied; the message says why."""


@dataclass(frozen=True)
class Status:
    """One migration of this version: `applied` is when (ms), None where it isn't."""

    version: int
    name: str
    applied: int | None


class Migrator:
    """Applies `steps` (by default the bundled ones). One that was started `stuck_ms` ago and isn't applied is free."""

    def __init__(
        self,
        clickhouse: ClickHouse,
        steps: Sequence[Migration] | None = None,
        stuck_ms: int = _STUCK_MS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clickhouse = clickhouse
        self._names = {"database": clickhouse.access.database, "analytics": clickhouse.access.analytics}
        self._database = clickhouse.access.database
        self._steps = migrations() if steps is None else tuple(steps)
        self._runner = uuid.uuid4().hex
        self._stuck_ms = stuck_ms
        self._sleep = sleep

    async def apply(self) -> list[str]:
        """Apply what is missing; returns the names of the files that this runner applied.

        Raises MigrationFailed where an applied file has changed, StoreError where ClickHouse refuses.
        """
        for database in self._names.values():
            await self._clickhouse.command(query("create_database", database=database))
        await self._clickhouse.command(query("create_migrations", database=self._database))
        self._check(await self._events())
        return [step.name for step in self._steps if await self._apply(step)]

    async def status(self) -> list[Status]:
        """Every migration of this version, applied or not. Changes nothing."""
        rows = await self._clickhouse.query(
            "SELECT count() FROM system.tables WHERE database = {d:String} AND name = 'schema_migrations'",
            {"d": self._database},
        )
        events = await self._events() if rows[0][0] else []
        self._check(events)
        at = {e["version"]: e["at_ms"] for e in reversed(events) if e["event"] == "applied"}
        return [Status(s.version, s.name, at.get(s.version)) for s in self._steps]

    async def _apply(self, step: Migration) -> bool:
        while True:
            mine = [e for e in await self._events() if e["version"] == step.version]
            if any(e["event"] == "applied" for e in mine):
                return False
            last = mine[-1] if mine else None
            if last is not None and last["now_ms"] - last["at_ms"] < self._stuck_ms:
                await self._sleep(_POLL_S)
                continue
            await self._note(step, "started", f"migration:{step.version}:{len(mine)}")
            mine = [e for e in await self._events() if e["version"] == step.version]
            if not mine or mine[-1]["runner"] != self._runner:
                continue
            log.info("applying migration %s", step.name)
            for statement in step.statements:
                await self._clickhouse.command(filled(statement, self._names))
            await self._note(step, "applied", f"migration:{step.version}:applied")
            return True

    async def _note(self, step: Migration, event: str, token: str) -> None:
        parameters = {
            "version": step.version,
            "name": step.name,
            "checksum": step.checksum,
            "event": event,
            "runner": self._runner,
        }
        sql = query("migration_event", database=self._database)
        await self._clickhouse.command(sql, parameters, token=token)

    async def _events(self) -> list[dict[str, Any]]:
        names = ("version", "name", "checksum", "event", "runner", "at_ms", "now_ms")
        rows = await self._clickhouse.query(query("migrations", database=self._database))
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _check(self, events: list[dict[str, Any]]) -> None:
        wanted = {s.version: s for s in self._steps}
        for event in events:
            step = wanted.get(event["version"])
            if step is None:
                log.warning("migration %s is of a newer version", event["name"])
            elif event["event"] == "applied" and event["checksum"] != step.checksum:
                raise MigrationFailed(
                    f"{step.name} was changed after it had been applied to database {self._database}: "
                    "restore the file and put the change into a new one"
                )


async def migrate(access: Access) -> list[str]:
    """Bring the database of `access` to this version; returns the names of the files applied."""
    clickhouse = ClickHouse(access)
    try:
        return await Migrator(clickhouse).apply()
    finally:
        await clickhouse.close()
