"""Erasures and legal holds on the real engine and broker: what is gone stays gone, what is held stays."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from schemas import names
from schemas.codec import Codec
from schemas.records import DeadLetter, RequestEvent
from schemas.registry import SchemaStore
from sinks.clickhouse import Access, ClickHouse
from sinks.erasure import Erasures, Kept
from sinks.erasure_scope import Hold, Order, Scope
from sinks.migrate import Migrator
from sinks.store import StoreError
from streams.services.erasure import ErasureWatch
from tests.fakes import sink_events as events
from tests.integration import reconcile_harness as reconciled
from tests.integration.sink_harness import Harness
from tests.integration.test_clickhouse_schema import put
from tests.integration.test_reconcile import requests as whole
from tests.integration.test_sink import sink as sink  # the fixture

ADA, ALL = Scope("acme", user="ada"), Scope("acme")
FAR = 2**41


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    client = ClickHouse(Access(clickhouse_url, database=f"t_{uuid.uuid4().hex[:10]}"))
    await Migrator(client).apply()
    yield client
    for database in (client.access.database, client.access.analytics):
        await client.command(f"DROP DATABASE IF EXISTS {database}")
    await client.close()


def result(n: int, user: str = "ada", tenant: str = "acme") -> Any:
    return msgspec.structs.replace(events.result(n), tenant=tenant, user=user)


def requests(first: int, count: int) -> list[tuple[str, msgspec.Struct]]:
    """All events of whole requests of tenant acme, those with odd numbers made for ada."""
    made: list[tuple[str, Any]] = list(whole(first, count))
    for topic, event in made:
        event.tenant = "acme"
        if topic == names.RESULTS:
            event.user = "ada" if int(event.request_id.split("-")[1]) % 2 else "bob"
    return made


def letter(n: int, user: str, tenant: str | None = "acme") -> DeadLetter:
    """A letter about a request of `user`, in Avro."""
    request = RequestEvent(tenant="acme", user=user, id=f"lost-{n}")
    value = Codec(SchemaStore(None)).encode(request, names.REQUESTS)
    made = events.dead_letter(n)
    return msgspec.structs.replace(made, value=value, claimed_tenant=tenant, source_topic=names.REQUESTS)


def order(scope: Scope, until: int = FAR) -> Order:
    return Order(uuid.uuid4().hex, scope, until, until, "operator:ann", "asked; it's urgent", events.T0)


async def given(erasures: Erasures, made: Order) -> Order:
    """An order that stands, as the command leaves it when it dies before the first row is erased."""
    await erasures.note(made, "ordered")
    await erasures.note(made, "audited")
    return next(o for o in await erasures.orders() if o.id == made.id)


async def place(erasures: Erasures, scope: Scope) -> Hold:
    hold = Hold(uuid.uuid4().hex, scope, "operator:ann", "a case")
    await erasures.note_hold(hold, "placed", hold.who, hold.reason)
    return hold


async def texts(client: ClickHouse, database: str = "") -> set[str]:
    """The requests that have a text."""
    rows = await client.query(
        f"SELECT request_id FROM {database or client.access.database}.bodies WHERE text != '' OR parts != ''"
    )
    return {row[0] for row in rows}


async def originals(client: ClickHouse) -> Sequence[Any]:
    rows = await client.query(
        f"SELECT id FROM {client.access.database}.dead_letters WHERE value IS NOT NULL OR key IS NOT NULL "
        "OR notEmpty(headers)"
    )
    return sorted(row[0] for row in rows)


async def test_a_persons_texts_and_original_bytes_are_erased_and_nothing_else(clickhouse: ClickHouse) -> None:
    erasures = Erasures(clickhouse)
    made = [result(1), result(2, "bob"), result(3), result(4, tenant="other")]
    letters = [letter(5, "ada"), letter(6, "adam"), letter(7, "ada", None), letter(8, "bob", None)]
    await put(clickhouse, *made, *letters)
    ordered = order(ADA)
    [bodies, lost] = await erasures.survey(ordered)
    assert (bodies.rows, lost.rows) == (2, 2) and bodies.size > 0
    ordered = await given(erasures, ordered)
    assert await erasures.carry_out(ordered) == 4
    assert await texts(clickhouse) == {"request-2", "request-4"}
    assert await originals(clickhouse) == sorted([letters[1].id, letters[3].id])
    rows = f"SELECT count() FROM {clickhouse.access.database}."
    assert [(await clickhouse.query(rows + t))[0][0] for t in ("bodies", "results", "dead_letters")] == [
        4,
        4,
        4,
    ]
    told = await clickhouse.query(
        f"SELECT who, reason, user, bodies, dead_letters, finished_at IS NOT NULL "
        f"FROM {clickhouse.access.analytics}.erasures"
    )
    assert told == [("operator:ann", "asked; it's urgent", "ada", 2, 2, 1)]


async def test_broken_off_anywhere_and_done_twice_at_once_it_ends_the_same(clickhouse: ClickHouse) -> None:
    erasures = Erasures(clickhouse)
    await put(clickhouse, *[result(n) for n in range(20)], letter(50, "ada"))
    unheard = order(ADA)
    await erasures.note(unheard, "ordered")  # its audit event isn't durable: nobody may carry it out
    assert await erasures.apply() == 0 and len(await texts(clickhouse)) == 20
    await erasures.note(unheard, "audited")
    [standing] = await erasures.orders()
    second = await given(erasures, order(ALL))
    await asyncio.gather(erasures.carry_out(standing), erasures.carry_out(second), erasures.apply())
    assert await texts(clickhouse) == set() and await originals(clickhouse) == []
    counted = [await erasures.erased(o, t) for o in (standing, second) for t in ("bodies", "dead_letters")]
    assert sum(counted) == 21
    assert all(o.finished for o in await erasures.orders())
    assert await erasures.apply() == 0


async def test_what_arrives_later_is_emptied_by_the_next_look(clickhouse: ClickHouse) -> None:
    """A row that a sink wrote which didn't know the order yet, and one of a request accepted after it."""
    erasures = Erasures(clickhouse)
    await erasures.carry_out(await given(erasures, order(ADA, events.T0 + 10)))
    watch = ErasureWatch(clickhouse, kept := Kept(clickhouse))
    await watch.look()
    assert [o.scope for o in kept.standing.orders] == [ADA]
    await put(clickhouse, result(5), result(20), topic="llm.later")
    assert await watch.look() == 1
    assert await texts(clickhouse) == {"request-20"}
    rows = await clickhouse.query(f"SELECT bodies FROM {clickhouse.access.analytics}.erasures")
    assert rows == [(1,)]


async def test_a_hold_keeps_rows_from_retention_and_erasure_until_it_is_released(
    clickhouse: ClickHouse,
) -> None:
    erasures, database = Erasures(clickhouse), clickhouse.access.database
    hold = await place(erasures, ADA)
    await put(clickhouse, result(1), result(2, "bob"), letter(3, "ada"), letter(4, "bob"))
    assert await erasures.mark_held() == 2  # rows that arrived under the hold
    for table in ("bodies", "dead_letters"):  # the time of all is over
        await clickhouse.command(
            f"ALTER TABLE {database}.{table} UPDATE retention_days = 1, "
            f"inserted_at = now64(3) - toIntervalDay(2) WHERE true SETTINGS mutations_sync = 2"
        )
        await clickhouse.command(f"OPTIMIZE TABLE {database}.{table} FINAL")
    assert await texts(clickhouse) == {"request-1"}
    assert await originals(clickhouse) == [letter(3, "ada").id]
    ordered = await given(erasures, order(ALL))
    [bodies, lost] = await erasures.survey(ordered)
    assert (bodies.rows, bodies.held, lost.rows, lost.held) == (0, 1, 0, 1)
    assert await erasures.carry_out(ordered) == 0
    assert await erasures.held(hold) == {"bodies": 1, "dead_letters": 1}
    await erasures.note_hold(hold, "released", "operator:ann", "settled")
    assert await erasures.apply(FAR) > 0  # the order is carried out, though nothing was inserted since
    assert await texts(clickhouse) == set() and await originals(clickhouse) == []
    marked = await clickhouse.query(f"SELECT count() FROM {database}.bodies WHERE held")
    assert marked == [(0,)]


async def test_a_reader_can_erase_and_hold_nothing(clickhouse: ClickHouse) -> None:
    erasures = Erasures(clickhouse)
    await put(clickhouse, result(1))
    ordered = await given(erasures, order(ADA))
    access = clickhouse.access
    reader = ClickHouse(Access(access.url, user="analyst", database=access.database))
    try:
        theirs = Erasures(reader)
        for work in (
            theirs.note(order(ADA), "ordered"),
            place(theirs, ADA),
            theirs.carry_out(ordered),
        ):
            with pytest.raises(StoreError) as refused:
                await work
            assert refused.value.code in (164, 497), refused.value
    finally:
        await reader.close()
    assert await texts(clickhouse) == {"request-1"} and await erasures.holds() == []


async def test_a_reconciliation_stays_clean_and_brings_no_text_back(sink: Harness) -> None:
    """Over Kafka: erased, then rows are lost and repaired, then the intent is repeated by a sink that starts anew."""
    letters = [(names.DEAD_LETTERS, letter(n, "ada")) for n in range(6)]
    await sink.publish([*requests(0, 30), *letters])
    worker = sink.start()
    await sink.settle(30 * 7 + 6)
    erasures = Erasures(sink.clickhouse)
    await erasures.carry_out(await given(erasures, order(ADA)))
    bobs = {f"request-{n}" for n in range(0, 30, 2)}
    assert await texts(sink.clickhouse) == bobs
    report = await reconciled.run(sink)
    assert report.gaps == 0, report.findings
    for table in ("bodies", "dead_letters"):
        await sink.clickhouse.command(
            f"ALTER TABLE {sink.access.database}.{table} DELETE WHERE kafka_offset < 12 SETTINGS mutations_sync = 2"
        )
    assert await sink.scalar("SELECT count() FROM {db}.bodies") < 30
    mended = await reconciled.run(sink, repair=True)
    assert mended.gaps == 0 and any(f.mended for f in mended.findings)
    assert await sink.scalar("SELECT count() FROM {db}.bodies") == 30
    assert await texts(sink.clickhouse) == bobs and await originals(sink.clickhouse) == []
    # What comes now of a request accepted before, by an intent that a sink leaves open and another one repeats.
    worker.terminate()
    await asyncio.to_thread(worker.wait, 60)
    crashing = sink.start(crash_point="sink.after_intent")
    await sink.publish(requests(100, 3))
    await asyncio.to_thread(crashing.wait, 60)
    assert crashing.returncode == -9
    sink.start(group="next")  # which need not wait until the broker misses the killed one
    await sink.settle(33 * 7 + 6)
    assert await texts(sink.clickhouse) == bobs | {f"request-{n}" for n in range(100, 103) if n % 2 == 0}
    report = await reconciled.run(sink)
    assert report.gaps == 0, report.findings
