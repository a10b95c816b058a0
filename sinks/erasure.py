"""Erasures and legal holds in ClickHouse: orders on record, and the rows as they demand.

Rows are emptied, not deleted: so every record keeps its row, a reconciliation finds nothing missing and repairs
nothing, and an intent that is repeated sees its rows there. What may be emptied is asked of the rows themselves (they
have bytes, no hold covers them), so that every step can be repeated, by whoever and however many at once:

    ordered    who may not write is refused here, before anything else is done
    audited    after the audit event is durable; from now on every sink carries the order out, whoever else dies
    erased     how many rows of a table carry the order's id
    finished   nothing was left

A hold counts from its first row. An order asks the holds before each statement, and each row that arrives is marked by
the sink that brings it, or a moment later by one that looks (`streams.services.erasure`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sinks.clickhouse import ClickHouse
from sinks.erasure_scope import TABLES_WITH_TEXTS, Conditions, Hold, Order, Scope, Standing
from sinks.queries import query

_HAS_BYTES: Final = {
    "bodies": "(text != '' OR parts != '')",
    "dead_letters": "(`key` IS NOT NULL OR value IS NOT NULL OR notEmpty(headers))",
}
_ROUNDS: Final = 10


class OnCluster(Exception):
    """The tables are on a cluster, where an update must be made on every shard by its administrator."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of one table that an order covers and that have bytes: to be erased, and held."""

    table: str
    rows: int
    size: int
    held: int


class Erasures:
    """Orders and holds of one database. Every method raises a StoreError."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self._database = clickhouse.access.database

    # -- on record ------------------------------------------------------------------------------------------

    async def now(self) -> int:
        """The time by ClickHouse's clock, ms."""
        return int((await self._clickhouse.query(query("now")))[0][0])

    async def check(self) -> None:
        """Raise OnCluster where rows can't be changed from here."""
        names = {"database_name": self._database}
        found = await self._clickhouse.query(query("engine_of_bodies"), names)
        if found and found[0][0] != "MergeTree":
            raise OnCluster(f"database {self._database} is on a cluster ({found[0][0]})")

    async def orders(self) -> list[Order]:
        """Every order, the oldest first."""
        rows = await self._clickhouse.query(query("erasure_orders", database=self._database))
        return [
            Order(
                id_,
                Scope(tenant, user, request),
                until,
                letters,
                who,
                reason,
                at,
                bool(stands),
                bool(done),
                last,
            )
            for id_, tenant, user, request, until, letters, who, reason, at, stands, done, last in rows
        ]

    async def holds(self) -> list[Hold]:
        """The holds in force, the oldest first."""
        rows = await self._clickhouse.query(query("holds", database=self._database))
        return [
            Hold(id_, Scope(tenant, user, request), who, reason, at)
            for id_, tenant, user, request, who, reason, at in rows
        ]

    async def standing(self) -> Standing:
        """What rows that arrive must obey."""
        return Standing([o for o in await self.orders() if o.stands], await self.holds())

    async def note(self, order: Order, event: str, table: str = "", rows: int = 0) -> None:
        """Put an event of an order on record, once."""
        parameters = {
            "id": order.id,
            "event": event,
            **_names(order.scope),
            "accepted_until": order.accepted_until,
            "letters_until": order.letters_until,
            "who": order.who,
            "reason": order.reason,
            "erased_table": table,
            "erased_rows": rows,
        }
        sql = query("erasure_event", database=self._database)
        await self._clickhouse.command(sql, parameters, f"erasure:{order.id}:{event}:{table}:{rows}")

    async def note_hold(self, hold: Hold, event: str, who: str, reason: str) -> None:
        """Put an event of a hold on record, once."""
        parameters = {"id": hold.id, "event": event, **_names(hold.scope), "who": who, "reason": reason}
        sql = query("hold_event", database=self._database)
        await self._clickhouse.command(sql, parameters, f"hold:{hold.id}:{event}")

    # -- looking --------------------------------------------------------------------------------------------

    async def survey(self, order: Order, since: int = 0) -> list[Found]:
        """What an order covers that has bytes, of the rows inserted since then (ms)."""
        holds = await self.holds()
        return [await self._survey(table, order, holds, since) for table in TABLES_WITH_TEXTS]

    async def _survey(self, table: str, order: Order, holds: Sequence[Hold], since: int) -> Found:
        rows, size = await self._count(table, *_to_erase(table, order, holds, since))
        held = 0
        if holds:
            made = Conditions()
            covered = f"{_covered(made, table, order, since)} AND {made.of_holds(table, holds)}"
            held, _ = await self._count(table, made, covered)
        return Found(table, rows, size, held)

    async def erased(self, order: Order, table: str) -> int:
        """How many rows of a table the order has erased."""
        made = Conditions({"erasure": order.id})
        return (await self._count(table, made, "erasure = {erasure:String}"))[0]

    async def held(self, hold: Hold) -> dict[str, int]:
        """How many rows with bytes a hold keeps, by table."""
        found = {}
        for table in TABLES_WITH_TEXTS:
            made = Conditions()
            found[table], _ = await self._count(
                table, made, f"{_HAS_BYTES[table]} AND {made.of_holds(table, [hold])}"
            )
        return found

    async def nameless_letters(self) -> int:
        """Dead letters with bytes that name no tenant: whose they are, their bytes alone can tell."""
        wanted = f"{_HAS_BYTES['dead_letters']} AND claimed_tenant = ''"
        return (await self._count("dead_letters", Conditions(), wanted))[0]

    async def is_known(self, scope: Scope) -> bool:
        """Whether there is a request of it."""
        wanted, names = ["tenant = {tenant:String}"], _names(scope)
        if scope.user:
            wanted.append("`user` = {user:String}")
        if scope.request_id:
            wanted.append("request_id = {request_id:String}")
        sql = query("known_requests", ranges=" AND ".join(wanted), database=self._database)
        return int((await self._clickhouse.query(sql, names))[0][0]) > 0

    async def old_parts_s(self) -> int:
        """How long (s) ClickHouse keeps the files that an update has replaced."""
        return int((await self._clickhouse.query(query("old_parts_s")))[0][0])

    async def _count(self, table: str, made: Conditions, condition: str) -> tuple[int, int]:
        sql = query(f"count_{table}", ranges=condition, database=self._database)
        found = await self._clickhouse.query(sql, made.parameters)
        return int(found[0][0]), int(found[0][1])

    # -- doing ----------------------------------------------------------------------------------------------

    async def carry_out(self, order: Order, since: int = 0) -> int:
        """Empty what an order covers and no hold does, of the rows inserted since then (ms); returns how many it was.

        Returns when ClickHouse has done it. Puts on record what was erased.
        """
        total = 0
        for table in TABLES_WITH_TEXTS:
            total += await self._erase(table, order, since)
        if total or not order.finished:
            for table in TABLES_WITH_TEXTS:
                await self.note(order, "erased", table, await self.erased(order, table))
        if not since and not order.finished:
            await self.note(order, "finished")
        return total

    async def _erase(self, table: str, order: Order, since: int) -> int:
        """Until nothing is left: rows may arrive while a statement runs."""
        total = 0
        for _ in range(_ROUNDS):
            made, condition = _to_erase(table, order, await self.holds(), since)
            found, _ = await self._count(table, made, condition)
            if not found:
                break
            sql = query(f"erase_{table}", ranges=condition, database=self._database)
            await self._clickhouse.command(sql, {**made.parameters, "erasure": order.id})
            total += found
        return total

    async def mark_held(self, since: int = 0) -> int:
        """Mark the rows that holds cover, of those inserted since then; returns how many it was."""
        holds, total = await self.holds(), 0
        for table in TABLES_WITH_TEXTS if holds else ():
            made = Conditions()
            condition = f"NOT held AND {made.of_holds(table, holds)} AND {_recent(made, since)}"
            total += await self._set_held(table, True, made, condition)
        return total

    async def _freed(self) -> dict[str, int]:
        """How many rows are marked that no hold covers any more."""
        holds, found = await self.holds(), {}
        for table in TABLES_WITH_TEXTS:
            made = Conditions()
            found[table], _ = await self._count(table, made, _to_free(made, table, holds))
        return found

    async def _free(self, before: Sequence[Hold]) -> int:
        """Take the marks from rows that no hold covers, nor did one of `before`: what orders are due there hasn't been
        erased yet, and the mark is what tells of it."""
        holds, total = [*await self.holds(), *before], 0
        for table in TABLES_WITH_TEXTS:
            made = Conditions()
            total += await self._set_held(table, False, made, _to_free(made, table, holds))
        return total

    async def _set_held(self, table: str, held: bool, made: Conditions, condition: str) -> int:
        found, _ = await self._count(table, made, condition)
        if found:
            sql = query("set_held", ranges=condition, database=self._database, table=table)
            await self._clickhouse.command(sql, {**made.parameters, "held": int(held)})
        return found

    async def apply(self, since: int = 0) -> int:
        """Bring the rows inserted since then (ms) into line with all holds, and with all orders that stand.

        Returns how many were changed.
        """
        before = await self.holds()
        # Who placed a hold may have died before it was marked on the rows that were there.
        changed = await self.mark_held(0 if any(hold.at >= since for hold in before) else since)
        # What a released hold kept from an order is erased first, and its mark goes last: so a run that dies between
        # them leaves the mark for the next one, which then looks at all rows.
        if any((await self._freed()).values()):
            since = 0
        for order in await self.orders():
            # One that was finished before is known to all who have inserted since.
            if order.stands and not (order.finished and order.touched < since):
                changed += await self.carry_out(order, since if order.finished else 0)
        return changed + await self._free(before)


class Kept:
    """The orders and holds as a sink's mapper obeys them; `refresh` takes in new ones."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._erasures = Erasures(clickhouse)
        self._lock = asyncio.Lock()
        self.standing = Standing()

    async def refresh(self) -> None:
        """Read what stands now. Raises a StoreError."""
        async with self._lock:
            self.standing = await self._erasures.standing()

    def __call__(self, event: Any, rows: Any) -> Any:
        """See `mapping.Keep`."""
        return self.standing.apply(event, rows)


def _names(scope: Scope) -> dict[str, Any]:
    return {"tenant": scope.tenant, "user": scope.user, "request_id": scope.request_id}


def _recent(made: Conditions, since: int) -> str:
    made.parameters["since"] = since
    return "inserted_at >= fromUnixTimestamp64Milli({since:Int64})"


def _covered(made: Conditions, table: str, order: Order, since: int) -> str:
    return f"{_HAS_BYTES[table]} AND {made.of_order(table, order)} AND {_recent(made, since)}"


def _to_free(made: Conditions, table: str, holds: Sequence[Hold]) -> str:
    return f"held AND NOT {made.of_holds(table, holds)}"


def _to_erase(table: str, order: Order, holds: Sequence[Hold], since: int) -> tuple[Conditions, str]:
    made = Conditions()
    condition = _covered(made, table, order, since)
    if holds:
        condition += f" AND NOT {made.of_holds(table, holds)}"
    return made, condition
