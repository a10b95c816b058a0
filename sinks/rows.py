"""From an event and where it lies on Kafka to the rows of the tables. Pure: the same record gives the same rows.

A record gives at most one row a table. Times that order or partition a table, counts and money are checked here;
what doesn't fit raises Invalid, and the record becomes a dead letter. Times that a caller chose (a deadline) are
NULL where the engine can't hold them.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from schemas import names
from schemas.records import (
    Attempt,
    AuditEvent,
    DeadLetter,
    ResultEvent,
    Timings,
    Usage,
    UsageEvent,
)
from schemas.signals import Invalid
from sinks import tables
from sinks.store import Row

MAPPING: Final = 1
"""The version of this mapping: raise it when a record's rows change their table."""

EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 7_258_118_400_000  # 2200-01-01
_MOST_COUNT: Final = 2**32 - 1
_MOST_TOKENS: Final = 2**63 - 1
_MOST_MONEY: Final = Decimal(10) ** 9


class KafkaRecord(Protocol):
    """A record as the consumer hands it out."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Any: ...


Rows = list[tuple[str, Row]]
"""Rows with the names of their tables."""

EVENT_OF_TOPIC: Final[dict[str, type[msgspec.Struct]]] = {
    names.RESULTS: ResultEvent,
    names.USAGE: UsageEvent,
    names.AUDIT: AuditEvent,
    names.ATTEMPTS: Attempt,
    names.DEAD_LETTERS: DeadLetter,
}


def rows_of(event: Any, record: KafkaRecord) -> Rows:
    """The rows of one event that lies where `record` lies. Raises Invalid for values that no row can hold."""
    stamp = record.timestamp
    at = (record.topic, record.partition, record.offset, stamp if EARLIEST_MS <= stamp < LATEST_MS else 0)
    return _ROWS_OF[type(event)](event, at)


_At = tuple[str, int, int, int]


def _result(e: ResultEvent, at: _At) -> Rows:
    if e.kind != "terminal":
        return [("result_notices", _notice(e, at))]
    text = e.text or ""
    row = (
        e.event_id, e.tenant, e.request_id, _time("accepted_at", e.accepted_at),
        _time("completed_at", e.completed_at), e.config_version, e.status, e.error_class or "",
        e.error_message or "", [p.code for p in e.problems], e.finish_reason or "", e.model or "", e.provider or "",
        e.deployment or "", e.vendor_model or "", _count("attempts", e.attempts), *_tokens(e.usage), _money(e.cost),
        *_timings(e.timings), e.lane or "", e.task_type or "", e.application or "", e.user or "",
        e.session_id or "", e.purpose or "", e.tags, e.workflow_name or "", e.workflow_id or "",
        e.workflow_step or "", e.parent_request_id or "", e.experiment_key or "", e.traceparent or "",
        e.reply_topic or "", len(text), e.metadata, *at,
    )  # fmt: skip
    if not text and not e.output:
        return [("results", row)]
    plain = all(part.type == "text" for part in e.output)
    parts = "" if plain else msgspec.json.encode(e.output).decode()
    return [
        ("results", row),
        ("bodies", (e.tenant, e.request_id, e.completed_at, "output", text, parts, *at)),
    ]


def _notice(e: ResultEvent, at: _At) -> Row:
    return (
        e.event_id, e.tenant, e.request_id, e.kind, e.original_request_id or "",
        _time("accepted_at", e.accepted_at), _time("completed_at", e.completed_at), e.config_version,
        e.error_message or "", e.application or "", e.user or "", e.metadata, *at,
    )  # fmt: skip


def _usage(e: UsageEvent, at: _At) -> Rows:
    row = (
        e.event_id, e.tenant, e.request_id, _count("attempt", e.attempt), e.attempt_id, _count("tries", e.tries),
        e.status, _time("accepted_at", e.accepted_at), _time("recorded_at", e.recorded_at), e.config_version,
        e.model, e.provider or "", e.deployment or "", e.vendor_model or "", *_tokens(e.usage), _money(e.cost),
        e.corrects or "", e.error_class or "", *_timings(e.timings), e.lane or "", e.task_type or "",
        e.application or "", e.user or "", e.session_id or "", e.purpose or "", e.experiment_key or "",
        e.workflow_id or "", e.metadata, *at,
    )  # fmt: skip
    return [("usage", row)]


def _attempt(e: Attempt, at: _At) -> Rows:
    row = (
        e.tenant, e.request_id, _count("attempt", e.attempt), e.attempt_id, _count("try", e.try_), e.phase,
        _time("at", e.at), _time_or_null(e.must_end_by), e.model, e.deployment or "", e.worker, e.call_topic,
        e.call_partition, e.call_offset, *at,
    )  # fmt: skip
    return [("attempts", row)]


def _audit(e: AuditEvent, at: _At) -> Rows:
    row = (
        e.event_id, e.tenant, e.action, e.actor, _time("at", e.at), e.config_version,
        _whole("sequence", e.sequence, _MOST_TOKENS), e.previous_hash.hex(), e.request_id or "",
        None if e.attempt is None else _count("attempt", e.attempt), e.model or "", e.status or "", e.reason or "",
        e.details, _time_or_null(e.accepted_at), e.lane or "", e.task_type or "", e.application or "", e.user or "",
        e.session_id or "", e.purpose or "", e.data_classes, e.metadata, *at,
    )  # fmt: skip
    if e.action != "accepted":
        return [("audit", row)]
    return [("audit", row), ("requests", _request(e, at))]


def _request(e: AuditEvent, at: _At) -> Row:
    d = _Details(e.details)
    return (
        e.event_id, e.tenant, e.request_id or "", _time("accepted_at", e.accepted_at or e.at), e.config_version,
        e.status or "", e.reason or "", d.text("model") or e.model or "", d.texts("candidates"), d.text("why"),
        e.lane or "", e.task_type or "", e.application or "", e.user or "", e.session_id or "", e.purpose or "",
        e.data_classes, d.text("idempotency_key"), _time_or_null(d.whole("deadline_at")),
        d.whole("input_tokens_estimate", least=0), d.money("worst_case_cost"), d.codes("problems"),
        d.text("source_topic"), d.whole("source_partition", most=2**31 - 1), d.whole("source_offset"), e.details,
        e.metadata, *at,
    )  # fmt: skip


def _dead_letter(e: DeadLetter, at: _At) -> Rows:
    row = (
        e.id, e.kind, e.stage, e.reason, e.message, _time("at", e.at), e.source_topic, e.source_partition,
        e.source_offset, _time_or_null(e.source_timestamp), e.key, e.value, [(h.key, h.value) for h in e.headers],
        e.claimed_tenant or "", e.request_id or "", *at,
    )  # fmt: skip
    return [("dead_letters", row)]


_ROWS_OF: Final[dict[type, Callable[[Any, _At], Rows]]] = {
    ResultEvent: _result,
    UsageEvent: _usage,
    AuditEvent: _audit,
    Attempt: _attempt,
    DeadLetter: _dead_letter,
}

_NO_TOKENS: Final = (None, None, None, None, None, False, "")
_NO_TIMINGS: Final = (None, None, None, None)


def _tokens(u: Usage | None) -> tuple[Any, ...]:
    if u is None:
        return _NO_TOKENS
    counts = (u.input_uncached, u.cache_read, u.cache_write, u.output, u.reasoning)
    for count in counts:
        if count is not None and not 0 <= count <= _MOST_TOKENS:
            raise Invalid("out_of_range", f"usage counts {count} tokens: a count is not negative")
    return (*counts, u.estimated, u.raw or "")


def _timings(t: Timings | None) -> tuple[Any, ...]:
    if t is None:
        return _NO_TIMINGS
    return (
        _time_or_null(t.issued_at),
        _time_or_null(t.started_at),
        _time_or_null(t.first_token_at),
        _time_or_null(t.completed_at),
    )


def _time(name: str, ms: int) -> int:
    if EARLIEST_MS <= ms < LATEST_MS:
        return ms
    raise Invalid("out_of_range", f"{name} is {ms}: give milliseconds since the epoch, from 2000 to 2199")


def _time_or_null(ms: int | None) -> int | None:
    return ms if ms is not None and EARLIEST_MS <= ms < LATEST_MS else None


def _count(name: str, value: int) -> int:
    return _whole(name, value, _MOST_COUNT)


def _whole(name: str, value: int, most: int) -> int:
    if 0 <= value <= most:
        return value
    raise Invalid("out_of_range", f"{name} is {value}: give a whole number from 0 to {most}")


def _money(cost: Decimal | None) -> Decimal | None:
    if cost is None or (cost.is_finite() and abs(cost) < _MOST_MONEY):
        return cost
    raise Invalid("out_of_range", f"cost is {cost}: give less than {_MOST_MONEY} US dollars")


class _Details:
    """The details of an `accepted` event, read leniently: what is missing or of another type is not given.

    The text itself is kept in the row, so nothing is lost by that.
    """

    def __init__(self, text: str) -> None:
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):  # the latter for thousands of nested brackets
            found = None
        self._found: dict[str, Any] = found if isinstance(found, dict) else {}

    def text(self, name: str) -> str:
        value = self._found.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        value = self._found.get(name)
        return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []

    def codes(self, name: str) -> list[str]:
        """The codes of a list of problems; a problem may be its code alone."""
        value = self._found.get(name)
        items = value if isinstance(value, list) else []
        codes = [v.get("code") if isinstance(v, dict) else v for v in items]
        return [c for c in codes if isinstance(c, str)]

    def whole(self, name: str, least: int = -(2**63), most: int = 2**63 - 1) -> int | None:
        value = self._found.get(name)
        return value if type(value) is int and least <= value <= most else None

    def money(self, name: str) -> Decimal | None:
        value = self._found.get(name)
        if type(value) not in (str, int, float):
            return None
        try:
            cost = Decimal(str(value))
        except ArithmeticError:
            return None
        return cost if cost.is_finite() and abs(cost) < _MOST_MONEY else None


assert set(EVENT_OF_TOPIC.values()) == set(_ROWS_OF) and len(tables.TABLES) == 8
