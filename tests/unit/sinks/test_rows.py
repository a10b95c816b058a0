"""From events to rows: every value in its column, what can't be a row, and that code and SQL agree."""

import re
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pytest

from schemas import names
from schemas.records import ContentPart, Header, Problem, ResultEvent, Usage
from schemas.signals import Invalid
from sinks.queries import migrations
from sinks.rows import EVENT_OF_TOPIC, rows_of
from sinks.tables import LEASE_COLUMN, TABLES
from tests.fakes import sink_events as events


class At(NamedTuple):
    topic: str = "llm.results"
    partition: int = 2
    offset: int = 77
    timestamp: int = events.T0 + 5
    key: bytes | None = None
    value: bytes | None = b""
    headers: tuple[tuple[str, bytes], ...] = ()


AT = At()


def made(event: msgspec.Struct, at: At = AT) -> dict[str, dict[str, Any]]:
    return {table: dict(zip(TABLES[table].columns, row, strict=True)) for table, row in rows_of(event, at)}


def test_details_nested_beyond_measure_are_kept_as_text_alone() -> None:
    accepted = events.audit(1)
    accepted.details = '{"why": ' + "[" * 100_000
    request = made(accepted)["requests"]
    assert request["why"] == "" and request["details"] == accepted.details


def test_the_result_lands_without_its_text_which_lands_beside_it() -> None:
    rows = made(events.result(3))
    assert set(rows) == {"results", "bodies"}
    result = rows["results"]
    assert "Answer 3" in rows["bodies"]["text"] and rows["bodies"]["parts"] == ""
    assert not any("Answer" in str(v) for v in result.values())
    assert result["text_characters"] == len(rows["bodies"]["text"])
    wanted = {
        "event_id": "result-3", "tenant": "tenant-3", "request_id": "request-3", "accepted_at": events.T0 + 3,
        "completed_at": events.T0 + 253, "status": "succeeded", "error_class": "", "model": "small", "attempts": 1,
        "input_uncached_tokens": 100, "cache_read_tokens": None, "output_tokens": 20, "cost": Decimal("0.000123000"),
        "issued_at": None, "tags": ["a", "b"], "metadata": {"order": "3"}, "kafka_topic": "llm.results",
        "kafka_partition": 2, "kafka_offset": 77, "kafka_timestamp": events.T0 + 5,
    }  # fmt: skip
    assert {k: result[k] for k in wanted} == wanted


def test_kinds_of_usage_and_the_price_that_held_land_with_result_and_usage() -> None:
    used, result = events.usage(1), events.result(1)
    told = Usage(
        input_uncached=9, output=8, cache_write_1h=1, tool_input=2, image_input=3, audio_input=4, audio_output=5,
        service_tier="flex",
    )  # fmt: skip
    for event, table in ((used, "usage"), (result, "results")):
        event.usage, event.cost_basis, event.price_version = told, "per_token", "config 2026-07-01 flex"
        wanted = {
            "cache_write_1h_tokens": 1, "tool_input_tokens": 2, "image_input_tokens": 3, "audio_input_tokens": 4,
            "audio_output_tokens": 5, "service_tier": "flex", "cost_basis": "per_token",
            "price_version": "config 2026-07-01 flex",
        }  # fmt: skip
        row = made(event)[table]
        assert {k: row[k] for k in wanted} == wanted
        event.usage, event.cost_basis, event.price_version = Usage(), None, None
        row = made(event)[table]
        assert (row["audio_input_tokens"], row["service_tier"], row["cost_basis"]) == (None, "", "")


def test_a_result_without_text_has_no_body_and_a_notice_is_no_result() -> None:
    rejected = events.result(1)
    rejected.text, rejected.status = None, "rejected"
    rejected.problems = [Problem(code="no_such_model", message="name another")]
    assert made(rejected).keys() == {"results"}
    assert made(rejected)["results"]["problems"] == ["no_such_model"]
    notice = made(events.result(1, "duplicate"))
    assert notice.keys() == {"result_notices"} and notice["result_notices"]["kind"] == "duplicate"


def test_parts_that_are_no_text_are_kept_as_json() -> None:
    event = events.result(1)
    event.output = [ContentPart(type="text", text="x"), ContentPart(type="image", data=b"\x00\xff")]
    parts = msgspec.json.decode(made(event)["bodies"]["parts"], type=list[ContentPart])
    assert parts == event.output


def test_usage_keeps_the_unknown_apart_from_zero() -> None:
    event = events.usage(2)
    event.usage, event.cost, event.timings = Usage(input_uncached=0, estimated=True), None, None
    row = made(event)["usage"]
    assert (row["input_uncached_tokens"], row["output_tokens"], row["cost"]) == (0, None, None)
    assert (row["tokens_estimated"], row["usage_raw"], row["first_token_at"]) == (True, "", None)


def test_an_acceptance_lands_as_audit_as_request_and_as_decision() -> None:
    rows = made(events.audit(4))
    assert rows.keys() == {"audit", "requests", "decisions"}
    request = rows["requests"]
    wanted = {
        "request_id": "request-4", "candidates": ["small", "large"], "why": "rule 2: first healthy",
        "worst_case_cost": Decimal("0.01"), "source_topic": "llm.requests", "source_partition": 3,
        "source_offset": 4, "deadline_at": events.T0 + 60_000, "input_tokens_estimate": 100, "problems": [],
        "data_classes": ["public"],
    }  # fmt: skip
    assert {k: request[k] for k in wanted} == wanted
    assert rows["audit"]["previous_hash"] == "00" * 32
    assert made(events.audit(4, "finalised")).keys() == {"audit"}


def test_a_decision_tells_what_was_chosen_among_what_and_why() -> None:
    first = made(events.audit(4))["decisions"]
    wanted: dict[str, Any] = {
        "action": "accepted", "attempt": 1, "model": "small", "candidates": ["small", "large"], "rule": "rule 2",
        "why": "rule 2: first healthy", "reason": "", "worst_case_cost": Decimal("0.01"), "not_before": None,
        "config_version": events.CONFIG, "decided_at": events.T0 + 4, "data_classes": ["public"],
    }  # fmt: skip
    assert {k: first[k] for k in wanted} == wanted
    again = events.audit(4, "retried")
    again.attempt, again.model, again.reason = 2, "large", "rate_limited"
    details = {"candidates": ["large"], "why": "first candidate", "not_before": events.T0 + 9}
    again.details = msgspec.json.encode(details).decode()
    rows = made(again)
    assert rows.keys() == {"audit", "decisions"}
    wanted = {
        "action": "retried",
        "attempt": 2,
        "model": "large",
        "candidates": ["large"],
        "reason": "rate_limited",
    }
    wanted |= {"rule": "", "not_before": events.T0 + 9, "worst_case_cost": None}
    assert {k: rows["decisions"][k] for k in wanted} == wanted


def test_a_rejection_is_a_decision_for_no_model() -> None:
    rejected = events.audit(4)
    rejected.model, rejected.details = (
        None,
        '{"problems": [{"code": "unknown_model", "message": "name another"}]}',
    )
    row = made(rejected)["decisions"]
    assert (row["attempt"], row["model"], row["problems"]) == (0, "", ["unknown_model"])


def test_feedback_lands_and_no_score_spoils_an_average() -> None:
    event = events.feedback(3)
    row = made(event)["feedback"]
    wanted = {
        "tenant": "tenant-3",
        "request_id": "request-3",
        "at": events.T0 + 3,
        "score": 0.5,
        "label": "good",
    }
    assert {k: row[k] for k in wanted} == wanted
    for odd in (float("nan"), float("inf"), None):
        event.score = odd
        assert made(event)["feedback"]["score"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tenant": ""}, "incomplete_feedback"),
        ({"request_id": ""}, "incomplete_feedback"),
        ({"at": 0}, "out_of_range"),
    ],
)
def test_feedback_on_nothing_is_invalid(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Invalid) as error:
        rows_of(msgspec.structs.replace(events.feedback(1), **change), AT)
    assert error.value.reason == reason


def test_texts_are_kept_as_long_as_their_event_says() -> None:
    event = events.result(1)
    assert made(event)["bodies"]["retention_days"] == 30
    for days in (0, 7):
        event.retention_days = days
        assert made(event)["bodies"]["retention_days"] == days
    letter = events.dead_letter(1)
    assert made(letter)["dead_letters"]["retention_days"] == 0
    letter.retention_days = 9
    assert made(letter)["dead_letters"]["retention_days"] == 9
    event.retention_days = 40_000  # the engine's calendar would come round, and the text be removed at once
    with pytest.raises(Invalid):
        rows_of(event, AT)


@pytest.mark.parametrize(
    "details",
    [
        "{}",
        "[]",
        "not json",
        '{"candidates": 5, "deadline_at": 1e99, "worst_case_cost": "NaN", "problems": [1]}',
    ],
)
def test_an_acceptance_with_odd_details_still_has_its_row(details: str) -> None:
    event = events.audit(4)
    event.details = details
    request = made(event)["requests"]
    assert request["details"] == details
    assert (request["candidates"], request["deadline_at"], request["worst_case_cost"]) == ([], None, None)


def test_a_deadline_out_of_range_is_null_and_its_request_is_not_lost() -> None:
    event = events.audit(4)
    event.details = '{"deadline_at": 99999999999999999}'
    assert made(event)["requests"]["deadline_at"] is None


def test_attempts_and_dead_letters() -> None:
    row = made(events.attempt(5))["attempts"]
    assert (row["try"], row["phase"], row["call_offset"]) == (1, "started", 5)
    letter = events.dead_letter(6)
    letter.headers = [Header(key="k", value=b"\xff"), Header(key="k", value=None)]
    row = made(letter)["dead_letters"]
    assert (row["value"], row["key"]) == (b"\x00\xff\xfe not utf-8", None)
    assert row["headers"] == [("k", b"\xff"), ("k", None)]


@pytest.mark.parametrize(
    "change",
    [
        {"completed_at": 10**15},
        {"accepted_at": -1},
        {"attempts": -1},
        {"cost": Decimal(10) ** 9},
        {"cost": Decimal("NaN")},
        {"usage": Usage(output=-1)},
        {"usage": Usage(output=2**64)},
    ],
    ids=str,
)
def test_a_value_that_no_row_can_hold_is_invalid(change: dict[str, Any]) -> None:
    event: ResultEvent = msgspec.structs.replace(events.result(1), **change)
    with pytest.raises(Invalid) as error:
        rows_of(event, AT)
    assert error.value.reason == "out_of_range"


def test_every_topic_has_its_event() -> None:
    assert set(EVENT_OF_TOPIC) == {
        names.RESULTS,
        names.USAGE,
        names.AUDIT,
        names.ATTEMPTS,
        names.FEEDBACK,
        names.CONFIG,
        names.DEAD_LETTERS,
    }


def _tables_in_sql() -> dict[str, str]:
    """The definition of each table, with the columns that later migrations add."""
    found: dict[str, str] = {}
    for statement in (s for m in migrations() for s in m.statements):
        if made := re.match(
            r"CREATE TABLE IF NOT EXISTS \{database\}\.(\w+)\n\((.*)\n\)\n(.*)", statement, re.DOTALL
        ):
            found[made[1]] = made[2] + "\n" + made[3]
        elif altered := re.match(r"ALTER TABLE \{database\}\.(\w+)\n", statement):
            found[altered[1]] += "\n" + "\n".join(re.findall(r"    ADD COLUMN IF NOT EXISTS (.*)", statement))
    return found


def test_the_tables_in_sql_are_those_of_the_code() -> None:
    """A column that the code doesn't fill computes or defaults itself."""
    sql = _tables_in_sql()
    assert set(TABLES) <= set(sql)
    column = re.compile(
        r"^(?: {4})?`?(\w+)`? (.+?)(?: (?:DEFAULT|MATERIALIZED) (.+?))? COMMENT '", re.MULTILINE
    )
    for table in TABLES.values():
        found = {name: (kind, itself) for name, kind, itself in column.findall(sql[table.name])}
        filled = {name: found[name][0] for name in table.columns if name in found}
        assert filled == dict(zip(table.columns, table.types, strict=True)), table.name
        assert all(found[name][1] for name in set(found) - set(table.columns)), table.name


def test_every_table_and_column_has_a_comment_and_every_table_its_lease_and_window() -> None:
    for name, body in _tables_in_sql().items():
        lines = body.replace("\n        ", " ").splitlines()
        columns = [line for line in lines if line.startswith("    ") and "INDEX" not in line]
        assert all(re.search(r"COMMENT '.+?'", line) for line in columns), name
        assert re.search(r"^COMMENT '.+'$", body, re.MULTILINE), name
        assert "non_replicated_deduplication_window" in body, name
        assert LEASE_COLUMN in body or (name not in TABLES and not name.endswith("ledger")), name
        stored = [line for line in columns if "EPHEMERAL" not in line]
        assert all("CODEC(" in line for line in stored), name


@pytest.mark.parametrize("table", list(TABLES))
def test_order_keys_begin_with_the_tenant(table: str) -> None:
    order = re.search(r"^ORDER BY \((\w+)", _tables_in_sql()[table], re.MULTILINE)
    of_no_tenant = {"config_versions": "config_version"}
    assert order is not None and order[1] in ("tenant", "claimed_tenant", of_no_tenant.get(table))
