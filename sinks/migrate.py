"""Brings the database to this version: forward only, each file once, by one runner at a time.

A runner takes a migration by writing `started` under a deduplication token, which the engine applies for one runner
only, and reads back whether it was the one. The others wait for `applied` or `failed`; where neither comes, because
the runner died, they take it again. Statements can be run twice (IF NOT EXISTS), so that this is safe.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from sinks.clickhouse import Access, ClickHouse
from sinks.queries import Migration, filled, migrations, query
from sinks.store import StoreError

log = logging.getLogger(__name__)

_STUCK_MS: Final = 60_000
_POLL_S: Final = 0.2


class MigrationFailed(Exception):
    """A migration can't be applied; the message says why."""


State = Literal["applied", "pending", "running", "failed", "stopped", "changed", "newer"]
"""Of one migration: in force; not begun; under way by a runner; refused by ClickHouse; begun by a runner that is dead;
in force, but the file is another by now; in force, and of a newer version than this one."""


@dataclass(frozen=True)
class Status:
    """One migration; `at` is when it came into its state (ms), None where it is pending."""

    version: int
    name: str
    state: State
    at: int | None

    @property
    def good(self) -> bool:
        """Whether nothing needs to be done about it."""
        return self.state in ("applied", "newer")


class Migrator:
    """Applies `steps` (by default the bundled ones). One that was started `stuck_ms` ago and isn't applied is free.

    `tell` is given a line for each migration applied, and for each wait for another runner.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        steps: Sequence[Migration] | None = None,
        stuck_ms: int = _STUCK_MS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tell: Callable[[str], None] = log.info,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clickhouse = clickhouse
        self._names = {"database": clickhouse.access.database, "analytics": clickhouse.access.analytics}
        self._database = clickhouse.access.database
        self._steps = migrations() if steps is None else tuple(steps)
        self._runner = uuid.uuid4().hex
        self._stuck_ms = stuck_ms
        self._sleep = sleep
        self._clock = clock
        self._tell = tell

    async def apply(self) -> list[str]:
        """Apply what is missing; returns the names of the files that this runner applied.

        Raises MigrationFailed where an applied file has changed, or where a newer version has gone another way;
        StoreError where ClickHouse refuses.
        """
        for database in self._names.values():
            await self._clickhouse.command(query("create_database", database=database))
        await self._clickhouse.command(query("create_migrations", database=self._database))
        self._check(found := self._states(await self._events()))
        if any(s.at is None for s in found) and await self._on_cluster():
            raise MigrationFailed(
                f"database {self._database} is on a cluster, where migrations aren't run by themselves: "
                "`sluice clickhouse migrate --cluster NAME --print` gives the statements"
            )
        return [step.name for step in self._steps if await self._apply(step)]

    async def status(self) -> list[Status]:
        """Every migration of this version and of newer ones, in order. Changes nothing."""
        rows = await self._clickhouse.query(
            "SELECT count() FROM system.tables WHERE database = {d:String} AND name = 'schema_migrations'",
            {"d": self._database},
        )
        return self._states(await self._events() if rows[0][0] else [])

    async def _on_cluster(self) -> bool:
        """Whether the tables were made by the statements for a cluster (`sinks.cluster`)."""
        [(engine,)] = await self._clickhouse.query(
            "SELECT engine FROM system.tables WHERE database = {d:String} AND name = 'schema_migrations'",
            {"d": self._database},
        )
        return str(engine).startswith("Replicated")

    async def _apply(self, step: Migration) -> bool:
        told = False
        while True:
            mine = [e for e in await self._events() if e["version"] == step.version]
            if any(e["event"] == "applied" for e in mine):
                return False
            last = mine[-1] if mine else None
            if last is not None and last["event"] == "started" and self._alive(last):
                if not told:
                    self._tell(
                        f"{step.name} is under way by another runner; waiting for it, and taking it over should it"
                        f" not end within {self._stuck_ms // 1000} s"
                    )
                told = True
                await self._sleep(_POLL_S)
                continue
            claimed = await self._claim(step, len(mine))
            if claimed and await self._run(step, claimed):
                self._tell(f"{step.name} applied")
                return True

    async def _claim(self, step: Migration, number: int) -> int:
        """Take a migration of which `number` events are known; returns how many there are now, 0 where another runner
        was quicker."""
        await self._note(step, "started", f"migration:{step.version}:{number}")
        mine = [e for e in await self._events() if e["version"] == step.version]
        return len(mine) if mine and mine[-1]["runner"] == self._runner else 0

    async def _run(self, step: Migration, number: int) -> bool:
        """Run the statements; False where another runner took them over because this one was held up.

        That one may have gone on to later migrations by now, which an earlier one's statements would undo. `number`
        makes the token of the note that lets others try at once where a statement is refused.
        """
        claimed_at = self._clock()
        try:
            for statement in step.statements:
                if (self._clock() - claimed_at) * 1000 > self._stuck_ms / 2:
                    claimed_at = self._clock()
                    number = await self._claim(step, number)
                    if not number:
                        return False
                await self._clickhouse.command(filled(statement, self._names))
        except StoreError as error:
            if error.code is None:  # no answer: the statement may be under way
                raise
            with suppress(StoreError):
                await self._note(step, "failed", f"migration:{step.version}:{number}")
            raise type(error)(f"{step.name}: {error}", error.code) from error
        await self._note(step, "applied", f"migration:{step.version}:applied")
        return True

    def _alive(self, event: Mapping[str, Any]) -> bool:
        """Whether who wrote `event` may be at it still."""
        return bool(event["now_ms"] - event["at_ms"] < self._stuck_ms)

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

    def _states(self, events: list[dict[str, Any]]) -> list[Status]:
        wanted = {s.version: s for s in self._steps}
        known = {e["version"]: str(e["name"]) for e in events} | {s.version: s.name for s in self._steps}
        return [
            self._state(version, name, wanted.get(version), [e for e in events if e["version"] == version])
            for version, name in sorted(known.items())
        ]

    def _state(self, version: int, name: str, step: Migration | None, events: list[dict[str, Any]]) -> Status:
        if not events:
            return Status(version, name, "pending", None)
        if (done := next((e for e in events if e["event"] == "applied"), None)) is not None:
            changed = step is not None and done["checksum"] != step.checksum
            return Status(
                version, name, "changed" if changed else "applied" if step else "newer", done["at_ms"]
            )
        last = events[-1]
        state: State = (
            "failed" if last["event"] == "failed" else "running" if self._alive(last) else "stopped"
        )
        return Status(version, name, state, last["at_ms"])

    def _check(self, found: list[Status]) -> None:
        for each in found:
            if each.state == "changed":
                raise MigrationFailed(
                    f"{each.name} was changed after it had been applied to database {self._database}: "
                    "restore the file and put the change into a new one"
                )
        newer = [s.name for s in found if s.state == "newer"]
        missing = [s.name for s in found if s.at is None]
        if newer and missing:
            raise MigrationFailed(
                f"database {self._database} has {newer[-1]}, of a newer version, and lacks {missing[0]}, of this one: "
                "they can't follow each other. Use the version that brought the newer one"
            )
        if newer:
            self._tell(f"database {self._database} is newer than this version: {', '.join(newer)}")


async def migrate(access: Access) -> list[str]:
    """Bring the database of `access` to this version; returns the names of the files applied."""
    clickhouse = ClickHouse(access)
    try:
        return await Migrator(clickhouse).apply()
    finally:
        await clickhouse.close()
