"""From an event and where it lies on Kafka to the rows of the tables. Pure: the same record gives the same rows.

A record gives at most one row a table. Times that order or partition a table, counts and money are checked here;
what doesn't fit raises Invalid, and the record becomes a dead letter. Times that a caller chose (a deadline) are
NULL where the engine can't hold them.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from schemas import names
from schemas.records import (
    Attempt,
    AuditEvent,
    DeadLetter,
    Feedback,
    ResultEvent,
    Timings,
    Usage,
    UsageEvent,
)
from schemas.signals import Invalid
from sinks import tables, values
from sinks.config_record import ConfigRecord
from sinks.store import Row
from sinks.values import (
    EARLIEST_MS,
    LATEST_MS,
    MOST_TOKENS,
    Details,
    count,
    money,
    number_or_null,
    time,
    time_or_null,
    whole,
)

MAPPING: Final = 2
"""The version of this mapping: raise it when a record's rows change their table."""


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
    names.FEEDBACK: Feedback,
    names.CONFIG: ConfigRecord,
    names.DEAD_LETTERS: DeadLetter,
}

BODY_DAYS: Final = 30
"""How long a text is kept whose event doesn't say."""
FOR_EVER: Final = 0
_FREE: Final = (False, "")
"""Under no legal hold, and not erased: `erasure_scope` knows better."""
MOST_DAYS: Final = 3650  # the engine's times of removal end in 2106


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
        e.event_id, e.tenant, e.request_id, time("accepted_at", e.accepted_at),
        time("completed_at", e.completed_at), e.config_version, e.status, e.error_class or "",
        e.error_message or "", [p.code for p in e.problems], e.finish_reason or "", e.model or "", e.provider or "",
        e.deployment or "", e.vendor_model or "", count("attempts", e.attempts), *_tokens(e.usage), money(e.cost),
        e.cost_basis or "", e.price_version or "", *_timings(e.timings), e.lane or "", e.task_type or "",
        e.application or "", e.user or "", e.session_id or "", e.purpose or "", e.data_classes, e.tags,
        e.workflow_name or "", e.workflow_id or "", e.workflow_step or "", e.parent_request_id or "",
        e.experiment_key or "", e.traceparent or "", e.reply_topic or "", len(text), e.metadata, *at,
    )  # fmt: skip
    if not text and not e.output:
        return [("results", row)]
    plain = all(part.type == "text" for part in e.output)
    parts = "" if plain else msgspec.json.encode(e.output).decode()
    body = (
        e.tenant,
        e.request_id,
        e.completed_at,
        "output",
        text,
        parts,
        _days(e.retention_days, BODY_DAYS),
        *_FREE,
        *at,
    )
    return [("results", row), ("bodies", body)]


def _notice(e: ResultEvent, at: _At) -> Row:
    return (
        e.event_id, e.tenant, e.request_id, e.kind, e.original_request_id or "",
        time("accepted_at", e.accepted_at), time("completed_at", e.completed_at), e.config_version,
        e.error_message or "", e.application or "", e.user or "", e.metadata, *at,
    )  # fmt: skip


def _usage(e: UsageEvent, at: _At) -> Rows:
    row = (
        e.event_id, e.tenant, e.request_id, count("attempt", e.attempt), e.attempt_id, count("tries", e.tries),
        e.status, time("accepted_at", e.accepted_at), time("recorded_at", e.recorded_at), e.config_version,
        e.model, e.provider or "", e.deployment or "", e.vendor_model or "", *_tokens(e.usage), money(e.cost),
        e.cost_basis or "", e.price_version or "", e.corrects or "", e.error_class or "", *_timings(e.timings),
        e.lane or "", e.task_type or "", e.application or "", e.user or "", e.session_id or "", e.purpose or "",
        e.experiment_key or "", e.workflow_id or "", e.metadata, *at,
    )  # fmt: skip
    return [("usage", row)]


def _attempt(e: Attempt, at: _At) -> Rows:
    row = (
        e.tenant, e.request_id, count("attempt", e.attempt), e.attempt_id, count("try", e.try_), e.phase,
        time("at", e.at), time_or_null(e.must_end_by), e.model, e.deployment or "", e.worker, e.call_topic,
        e.call_partition, e.call_offset, *at,
    )  # fmt: skip
    return [("attempts", row)]


def _audit(e: AuditEvent, at: _At) -> Rows:
    row = (
        e.event_id, e.tenant, e.action, e.actor, time("at", e.at), e.config_version,
        whole("sequence", e.sequence, MOST_TOKENS), e.previous_hash.hex(), e.request_id or "",
        None if e.attempt is None else count("attempt", e.attempt), e.model or "", e.status or "", e.reason or "",
        e.details, time_or_null(e.accepted_at), e.lane or "", e.task_type or "", e.application or "", e.user or "",
        e.session_id or "", e.purpose or "", e.data_classes, e.metadata, *at,
    )  # fmt: skip
    if e.action not in _DECISIONS:
        return [("audit", row)]
    details = Details(e.details)
    made = [("audit", row), ("decisions", _decision(e, details, at))]
    return [*made, ("requests", _request(e, details, at))] if e.action == "accepted" else made


def _request(e: AuditEvent, d: Details, at: _At) -> Row:
    return (
        e.event_id, e.tenant, e.request_id or "", time("accepted_at", e.accepted_at or e.at), e.config_version,
        e.status or "", e.reason or "", d.text("model") or e.model or "", d.texts("candidates"), d.text("why"),
        e.lane or "", e.task_type or "", e.application or "", e.user or "", e.session_id or "", e.purpose or "",
        e.data_classes, d.text("idempotency_key"), time_or_null(d.whole("deadline_at")),
        d.whole("input_tokens_estimate", least=0), d.money("worst_case_cost"), d.codes("problems"),
        d.text("source_topic"), d.whole("source_partition", most=2**31 - 1), d.whole("source_offset"), e.details,
        e.metadata, *at,
    )  # fmt: skip


_DECISIONS: Final = frozenset({"accepted", "retried"})


def _decision(e: AuditEvent, d: Details, at: _At) -> Row:
    """The choice of a model: for the first attempt, which an acceptance implies where it names one, or a further."""
    attempt = e.attempt if e.attempt is not None else int(bool(e.model))
    return (
        e.event_id, e.tenant, e.request_id or "", e.at, e.action, attempt, e.config_version, e.model or "",
        d.texts("candidates"), d.text("rule"), d.text("why"), e.reason or "", d.codes("problems"),
        d.money("worst_case_cost"), time_or_null(d.whole("not_before")), time_or_null(e.accepted_at), e.lane or "",
        e.task_type or "", e.application or "", e.user or "", e.session_id or "", e.purpose or "", e.data_classes,
        e.metadata, *at,
    )  # fmt: skip


def _feedback(e: Feedback, at: _At) -> Rows:
    if not e.tenant or not e.request_id:
        raise Invalid("incomplete_feedback", "feedback needs the tenant and the request_id of what it judges")
    row = (
        e.tenant, e.request_id, time("at", e.at), number_or_null(e.score), e.label or "", e.comment or "",
        e.source or "", e.metadata, *at,
    )  # fmt: skip
    return [("feedback", row)]


def _config(e: ConfigRecord, at: _At) -> Rows:
    return [("config_versions", (e.version, e.event, at[3], e.content, e.matches, *at))]


def _dead_letter(e: DeadLetter, at: _At) -> Rows:
    row = (
        e.id, e.kind, e.stage, e.reason, e.message, time("at", e.at), e.source_topic, e.source_partition,
        e.source_offset, time_or_null(e.source_timestamp), e.key, e.value, [(h.key, h.value) for h in e.headers],
        e.claimed_tenant or "", e.request_id or "", _days(e.retention_days, FOR_EVER), *_FREE, *at,
    )  # fmt: skip
    return [("dead_letters", row)]


_ROWS_OF: Final[dict[type, Callable[[Any, _At], Rows]]] = {
    ResultEvent: _result,
    UsageEvent: _usage,
    AuditEvent: _audit,
    Attempt: _attempt,
    Feedback: _feedback,
    ConfigRecord: _config,
    DeadLetter: _dead_letter,
}


def _days(told: int | None, otherwise: int) -> int:
    return otherwise if told is None else whole("retention_days", told, MOST_DAYS)


_NO_TOKENS: Final = (None, None, None, None, None, False, "", None, None, None, None, None, "")
_NO_TIMINGS: Final = (None, None, None, None)


def _tokens(u: Usage | None) -> tuple[Any, ...]:
    if u is None:
        return _NO_TOKENS
    counts = (u.input_uncached, u.cache_read, u.cache_write, u.output, u.reasoning)
    values.tokens(counts)
    kinds = (u.cache_write_1h, u.tool_input, u.image_input, u.audio_input, u.audio_output)
    values.tokens(kinds)
    return (*counts, u.estimated, u.raw or "", *kinds, u.service_tier or "")


def _timings(t: Timings | None) -> tuple[Any, ...]:
    if t is None:
        return _NO_TIMINGS
    return (
        time_or_null(t.issued_at),
        time_or_null(t.started_at),
        time_or_null(t.first_token_at),
        time_or_null(t.completed_at),
    )


assert set(EVENT_OF_TOPIC.values()) == set(_ROWS_OF) and len(tables.TABLES) == 11
