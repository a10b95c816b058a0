"""Which rows an erasure or a legal hold means, and what becomes of those that arrive."""

from typing import Any

import msgspec
import pytest

from schemas.codec import Codec
from schemas.records import DeadLetter, Header, RequestEvent
from schemas.registry import SchemaStore
from sinks.erasure_scope import (
    Hold,
    Order,
    Scope,
    Standing,
    holds_letter,
    is_named,
    needles_of,
    orders_letter,
)
from sinks.rows import rows_of
from sinks.tables import TABLES
from tests.fakes import sink_events as events
from tests.unit.sinks.test_rows import AT

T0 = events.T0


def order(scope: Scope, until: int = T0 + 1000, late: int = T0 + 5000, name: str = "o") -> Order:
    return Order(name, scope, until, late, "operator:ann", "asked", T0, stands=True)


def hold(scope: Scope) -> Hold:
    return Hold("h", scope, "operator:ann", "a case")


def letter(value: bytes | None, **more: Any) -> DeadLetter:
    return msgspec.structs.replace(events.dead_letter(1), value=value, key=None, headers=[], **more)


def kept(standing: Standing, event: Any) -> dict[str, dict[str, Any]]:
    rows = standing.apply(event, rows_of(event, AT))
    return {table: dict(zip(TABLES[table].columns, row, strict=True)) for table, row in rows}


def result(user: str = "ada", accepted_at: int = T0 + 1) -> Any:
    return msgspec.structs.replace(events.result(1), user=user, accepted_at=accepted_at)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (Scope("tenant-1"), True),
        (Scope("tenant-1", user="ada"), True),
        (Scope("tenant-1", request_id="request-1"), True),
        (Scope("tenant-1", user="ad"), False),
        (Scope("tenant-1", request_id="request-11"), False),
        (Scope("tenant-2"), False),
    ],
)
def test_a_text_that_comes_in_later_is_emptied_where_it_is_meant(scope: Scope, covered: bool) -> None:
    rows = kept(Standing([order(scope)]), result())
    assert (rows["bodies"]["text"] == "") is covered
    assert rows["bodies"]["erasure"] == ("o" if covered else "")
    assert rows["results"] == kept(Standing(), result())["results"]


def test_an_order_doesn_t_reach_a_request_that_was_accepted_after_it() -> None:
    rows = kept(Standing([order(Scope("tenant-1"))]), result(accepted_at=T0 + 1001))
    assert "Answer" in rows["bodies"]["text"] and rows["bodies"]["erasure"] == ""


def test_the_older_of_two_orders_is_named_whoever_erases() -> None:
    orders = [order(Scope("tenant-1", user="ada"), name="first"), order(Scope("tenant-1"), name="second")]
    assert kept(Standing(orders), result())["bodies"]["erasure"] == "first"
    assert kept(Standing(orders), result("bob"))["bodies"]["erasure"] == "second"


def test_what_is_held_is_marked_and_no_order_empties_it() -> None:
    standing = Standing([order(Scope("tenant-1"))], [hold(Scope("tenant-1", request_id="request-1"))])
    body = kept(standing, result())["bodies"]
    assert body["held"] is True and "Answer" in body["text"] and body["erasure"] == ""


def test_a_letter_without_a_tenant_is_told_by_its_bytes() -> None:
    request = RequestEvent(tenant="acme", user="ada", id="r-1")
    avro = Codec(SchemaStore(None)).encode(request, "llm.requests")
    for value in (avro, b'{"tenant": "acme", "user": "ada", "request_id": "r-1", broken'):
        nameless = letter(value, claimed_tenant=None, request_id=None)
        assert holds_letter(Scope("acme"), nameless)
        assert holds_letter(Scope("acme", user="ada"), nameless)
        assert holds_letter(Scope("acme", request_id="r-1"), nameless)
        assert not holds_letter(Scope("acm"), nameless)
        assert not holds_letter(Scope("acme", user="ad"), nameless)
        emptied = kept(Standing([order(Scope("acme"), T0 + 10**9)]), nameless)["dead_letters"]
        assert (emptied["key"], emptied["value"], emptied["headers"], emptied["erasure"]) == (
            None,
            None,
            [],
            "o",
        )
        assert emptied["message"] == nameless.message
    claimed = letter(avro, claimed_tenant="other")
    assert not holds_letter(Scope("acme"), claimed)
    assert is_named(letter(None), "acme") is False
    headed = msgspec.structs.replace(letter(None), headers=[Header(key="sluice-tenant", value=b"acme")])
    assert is_named(headed, "acme")


def test_long_names_are_found_with_the_length_that_avro_gives_them() -> None:
    name = "ü" * 100
    avro = Codec(SchemaStore(None)).encode(RequestEvent(tenant=name, id="r"), "llm.requests")
    assert needles_of(name)[0] in avro


def test_a_letter_of_a_later_stage_counts_as_long_as_its_request_may_have_been_under_way() -> None:
    covers = order(Scope("tenant-1"))
    late = letter(b"x", claimed_tenant="tenant-1", at=T0 + 4000, source_timestamp=T0 + 4000)
    assert orders_letter(covers, msgspec.structs.replace(late, source_topic="llm.tenant-events"))
    assert not orders_letter(covers, msgspec.structs.replace(late, source_topic="llm.requests"))
    gone = msgspec.structs.replace(late, source_topic="llm.results", at=T0 + 6000)
    assert not orders_letter(covers, gone)
