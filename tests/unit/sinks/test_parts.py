"""The small parts: halving, waiting, error codes, SQL files, dead letters, mapping."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import ClientError
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas.codec import Codec
from schemas.letters import MOST_BYTES, truncated
from schemas.registry import SchemaStore
from schemas.signals import Invalid
from sinks import queries
from sinks.clickhouse import Access, ClickHouse
from sinks.dead_letter import letter
from sinks.errors import ABOUT_ROWS, translate
from sinks.isolate import isolate
from sinks.mapping import Mapper, decoder
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.rows import EVENT_OF_TOPIC, rows_of
from sinks.store import LeaseOver, Refused, Row, Unavailable
from sinks.tables import TABLES
from tests.fakes import sink_events as events
from tests.unit.sinks.test_rows import AT


@pytest.mark.parametrize("bad", [set(), {0}, {99}, {3, 4}, {0, 50, 99}, set(range(100))], ids=str)
async def test_isolate_finds_exactly_what_is_refused(bad: set[int]) -> None:
    calls = asked = 0

    async def probe(rows: Sequence[Row]) -> None:
        nonlocal calls
        calls += 1
        for row in rows:
            if row[0] in bad:
                raise Refused(f"row {row[0]}")

    async def sound() -> bool:
        nonlocal asked
        asked += 1
        return True

    found = await isolate([(n,) for n in range(100)], probe, sound)
    assert found is not None and asked == (len(bad) == 100)
    assert [(row[0], str(error)) for row, error in found] == [(n, f"row {n}") for n in sorted(bad)]
    assert calls <= 1 + 2 * 7 * max(1, len(bad))


@pytest.mark.parametrize(
    ("count", "first_good", "most"), [(1, 0, 1), (3, 0, 5), (9_000, 0, 70), (9_000, 50, 250)]
)
async def test_isolate_stops_soon_where_the_table_refuses_whatever_comes(
    count: int, first_good: int, most: int
) -> None:
    calls = 0

    async def probe(rows: Sequence[Row]) -> None:
        nonlocal calls
        calls += 1
        if rows[-1][0] >= first_good:
            raise Refused("no")

    async def sound() -> bool:
        return False

    assert await isolate([(n,) for n in range(count)], probe, sound) is None
    assert calls <= most


def watched_patience() -> tuple[Patience, list[bool], list[float]]:
    """A patience whose waits take no time; what it told of being paused, and the seconds that it would have slept."""
    paused: list[bool] = []
    slept: list[float] = []

    class Metrics(NoMetrics):
        def paused(self, paused_: bool) -> None:
            paused.append(paused_)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return Patience(Metrics(), first=0.1, most=5, sleep=sleep), paused, slept


async def test_patience_waits_for_ever_and_says_when_it_is_over() -> None:
    patience, paused, slept = watched_patience()

    failures = iter(range(50))

    async def call() -> str:
        if next(failures, None) is not None:
            raise Unavailable("away")
        return "done"

    assert await patience.persist(call, "x") == "done"
    assert len(slept) == 50 and slept[0] <= 0.1 and all(2.5 <= s <= 5 for s in slept[10:])
    assert paused == [True] * 50 + [False]


async def test_an_operation_that_fails_waits_longer_though_others_succeed_meanwhile() -> None:
    patience, paused, slept = watched_patience()

    async def succeed() -> None: ...

    for _ in range(7):
        await patience.wait(Unavailable("away"), "insert")
        await patience.persist(succeed, "read")
    assert slept[0] <= 0.1 and slept[6] >= 2.5
    assert paused == [True] * 7, "it is paused until the insert succeeds, too"
    patience.over("insert")
    assert paused[-1] is False


async def test_patience_does_not_wait_for_what_waiting_does_not_mend() -> None:
    async def call() -> None:
        raise Refused("no")

    with pytest.raises(Refused):
        await Patience(NoMetrics()).persist(call, "x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *[(DatabaseError("x", code=code), Refused) for code in ABOUT_ROWS],
        *[
            (DatabaseError("x", code=code), Unavailable)
            for code in (60, 81, 159, 202, 241, 243, 252, 319, 516, 1002)
        ],
        (
            DatabaseError("Code: 395. DB::Exception: the lease of this insert is over: ...", code=395),
            LeaseOver,
        ),
        (DatabaseError("Code: 395. DB::Exception: something else", code=395), Unavailable),
        (OperationalError("Network Error"), Unavailable),
        (ClientError("reset"), Unavailable),
        (TimeoutError(), Unavailable),
        (ConnectionResetError(), Unavailable),
    ],
)
def test_only_errors_about_rows_are_held_against_rows(error: Exception, kind: type) -> None:
    assert type(translate(error)) is kind


def test_a_value_that_does_not_fit_its_column_is_refused_before_it_is_sent() -> None:
    clickhouse = ClickHouse(Access("http://127.0.0.1:1"))
    row = list(rows_of(events.usage(1), AT)[0][1])
    row[TABLES["usage"].columns.index("attempt")] = 2**40
    with pytest.raises(Refused, match="doesn't fit"):
        clickhouse.body("`d`.`usage`", TABLES["usage"], [tuple(row)], lease=1)


async def test_a_store_that_does_not_answer_is_unavailable() -> None:
    clickhouse = ClickHouse(Access("http://127.0.0.1:1"))
    with pytest.raises(Unavailable):
        await clickhouse.query("SELECT 1")
    await clickhouse.close()


@pytest.mark.parametrize("name", ["a-b", "a.b", "", "1a", "a`b", "a b", "x" * 129, "таблица"])
def test_only_plain_names_stand_in_statements(name: str) -> None:
    with pytest.raises(queries.BadIdentifier):
        queries.query("present", database="d", table=name, ranges="1")


def test_sql_files_are_split_at_the_semicolons_that_end_lines() -> None:
    text = "-- a comment; with one\nCREATE TABLE a (x String COMMENT 'one; two')\nORDER BY x;\n\nSELECT ';' ;\n-- end\n"
    assert list(queries.split(text)) == [
        "CREATE TABLE a (x String COMMENT 'one; two')\nORDER BY x",
        "SELECT ';'",
    ]


def test_every_query_is_complete_once_its_names_are_put_in() -> None:
    assert "FROM d.usage WHERE 1 = 1" in queries.query("present", database="d", table="usage", ranges="1 = 1")
    assert all(text and "--" not in text for text in queries.queries().values())
    assert [m.version for m in queries.migrations()] == list(range(1, len(queries.migrations()) + 1))


def test_a_letter_keeps_the_original_and_is_the_same_whenever_it_is_made() -> None:
    record = AT._replace(key=b"k", value=b"\xff", headers=(("h", b"\x00"),))
    made = letter(record, "undecodable", "garbage")
    assert made == letter(record, "undecodable", "garbage")
    assert (made.id, made.kind, made.stage, made.key, made.value) == (
        "llm.results-2-77",
        "undecodable",
        "sink",
        b"k",
        b"\xff",
    )
    assert [(h.key, h.value) for h in made.headers] == [("h", b"\x00")]


def test_a_letter_fits_its_topic_whatever_the_record_and_says_what_it_left_out() -> None:
    whole = 6 << 20
    headers = tuple((f"h{n}", bytes(1024)) for n in range(whole // 1024))
    sizes: list[tuple[dict[str, Any], str]] = [
        ({"value": bytes(whole)}, "value"),
        ({"key": bytes(whole)}, "key"),
        ({"headers": headers}, "headers"),
    ]
    for change, part in sizes:
        made = letter(AT._replace(**change), "refused", "a message as long as a value" * whole)
        assert len(Codec(SchemaStore(None)).encode(made)) < whole - (1 << 20)
        assert truncated(made) == part and made.kind == "poison"
    long = letter(AT._replace(value=b"v" * (MOST_BYTES + 1)), "refused", "too long")
    assert long.value == b"v" * MOST_BYTES and "the original lies at its offset" in long.message
    assert truncated(letter(AT._replace(value=b"v" * MOST_BYTES), "refused", "no")) is None


async def test_mapping_sets_aside_what_is_no_event_and_keeps_the_order() -> None:
    codec = Codec(SchemaStore(None))
    values: list[Any] = [
        codec.encode(events.result(1)),
        b"garbage",
        None,
        codec.encode(events.usage(1)),
        codec.encode(events.result(2)),
    ]
    records = [AT._replace(offset=n, value=value) for n, value in enumerate(values)]
    mapped = await Mapper(decoder(codec, EVENT_OF_TOPIC)).map(records)
    assert [row[-2] for row in mapped.rows["results"]] == [0, 4]
    assert [(each.source_offset, each.reason) for each in mapped.rejected] == [
        (1, "undecodable"), (2, "null_value"), (3, "unexpected_type"),
    ]  # fmt: skip
    assert (mapped.records, mapped.oldest) == (5, AT.timestamp)


async def test_mapping_waits_for_a_schema_that_must_be_fetched() -> None:
    async def later() -> Any:
        raise Invalid("unknown_schema", "the registry has no schema 7: register it")

    mapped = await Mapper(lambda record: later()).map([AT])
    assert [each.reason for each in mapped.rejected] == ["unknown_schema"]
