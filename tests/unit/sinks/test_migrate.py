"""A runner of migrations that is held up gives way to the one that took over from it."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from sinks.migrate import Migrator
from sinks.queries import Migration

STEP = Migration(1, "0001_tables.sql", "sum", ("FIRST", "SECOND"))
NEXT = Migration(2, "0002_more.sql", "sum", ("THIRD",))


class Database:
    """Keeps the events of migrations, each token once, and what was run by whom."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.tokens: set[str] = set()
        self.events: list[list[Any]] = []
        self.ran: list[tuple[str, str]] = []


class Client:
    """A runner's client; `before` is called with each statement of a migration."""

    def __init__(self, database: Database, name: str) -> None:
        self.access = SimpleNamespace(database="sluice", analytics="analytics")
        self.database, self.name = database, name
        self.before: Any = None

    async def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, token: str | None = None
    ) -> None:
        base = self.database
        if token is not None and parameters is not None:
            if token not in base.tokens:
                base.tokens.add(token)
                names = ("version", "name", "checksum", "event", "runner")
                base.events.append([*(parameters[n] for n in names), base.now_ms])
        elif not sql.startswith("CREATE"):
            if self.before is not None:
                await self.before(sql)
            base.ran.append((self.name, sql))

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Sequence[Any]]:
        if "system.tables" in sql:
            return [("MergeTree",)]
        return [(*event, self.database.now_ms) for event in self.database.events]


def migrator(client: Client, *steps: Migration) -> Migrator:
    base = client.database
    return Migrator(client, steps, clock=lambda: base.now_ms / 1000)  # type: ignore[arg-type]


async def test_who_was_held_up_runs_nothing_once_another_has_taken_over() -> None:
    base = Database()
    slow, quick = Client(base, "slow"), Client(base, "quick")

    async def held_up(sql: str) -> None:
        slow.before = None
        base.now_ms += 61_000
        assert await migrator(quick, STEP, NEXT).apply() == [STEP.name, NEXT.name]

    slow.before = held_up
    assert await migrator(slow, STEP, NEXT).apply() == []
    assert base.ran[-2:] == [("quick", "THIRD"), ("slow", "FIRST")], "nothing after the one under way"


async def test_who_takes_long_keeps_its_migration() -> None:
    base = Database()
    slow, other = Client(base, "slow"), Client(base, "other")

    async def takes_long(sql: str) -> None:
        base.now_ms += 40_000
        if sql == "SECOND":  # 80 s after the first claim, 40 s after it was renewed
            [status] = await migrator(other, STEP).status()
            assert status.state == "running"

    slow.before = takes_long
    assert await migrator(slow, STEP).apply() == [STEP.name]
