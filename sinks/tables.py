"""The sink's tables as its code knows them: columns in the order of a row's values, with the engine's types.

The tables themselves (order, partitions, codecs, comments) are in `migrations/`; `clickhouse.verify` compares both.
A NULL means unknown, an empty string means not given.
"""

from typing import Final

from sinks.table import LEASE_COLUMN as LEASE_COLUMN
from sinks.table import Table as Table

_NAME = "LowCardinality(String)"
_NAMES = "Array(LowCardinality(String))"
_TIME = "DateTime64(3, 'UTC')"
_TIME_OR_NULL = "Nullable(DateTime64(3, 'UTC'))"
_COUNT = "UInt32"
_TOKENS = "Nullable(UInt64)"
_MONEY = "Nullable(Decimal(18, 9))"
_MAP = "Map(String, String)"

_TOKEN_COLUMNS: Final = {
    "input_uncached_tokens": _TOKENS,
    "cache_read_tokens": _TOKENS,
    "cache_write_tokens": _TOKENS,
    "output_tokens": _TOKENS,
    "reasoning_tokens": _TOKENS,
    "tokens_estimated": "Bool",
    "usage_raw": "String",
    "cache_write_1h_tokens": _TOKENS,
    "tool_input_tokens": _TOKENS,
    "image_input_tokens": _TOKENS,
    "audio_input_tokens": _TOKENS,
    "audio_output_tokens": _TOKENS,
    "service_tier": _NAME,
}
_COST_COLUMNS: Final = {"cost": _MONEY, "cost_basis": _NAME, "price_version": _NAME}
_TIMING_COLUMNS: Final = {
    "issued_at": _TIME_OR_NULL,
    "started_at": _TIME_OR_NULL,
    "first_token_at": _TIME_OR_NULL,
    "ended_at": _TIME_OR_NULL,
}
_MODEL_COLUMNS: Final = {"model": _NAME, "provider": _NAME, "deployment": _NAME, "vendor_model": _NAME}
_CONTEXT_COLUMNS: Final = {
    "lane": _NAME,
    "task_type": _NAME,
    "application": _NAME,
    "user": "String",
    "session_id": "String",
    "purpose": _NAME,
}
_LAST_COLUMNS: Final = {
    "kafka_topic": _NAME,
    "kafka_partition": "Int32",
    "kafka_offset": "Int64",
    "kafka_timestamp": _TIME,
}


def _table(name: str, columns: dict[str, str]) -> Table:
    every = columns | _LAST_COLUMNS
    return Table(name, tuple(every), tuple(every.values()))


REQUESTS: Final = _table(
    "requests",
    {
        "event_id": "String",
        "tenant": _NAME,
        "request_id": "String",
        "accepted_at": _TIME,
        "config_version": _NAME,
        "status": _NAME,
        "reason": "String",
        "model": _NAME,
        "candidates": _NAMES,
        "why": "String",
        **_CONTEXT_COLUMNS,
        "data_classes": _NAMES,
        "idempotency_key": "String",
        "deadline_at": _TIME_OR_NULL,
        "input_tokens_estimate": _TOKENS,
        "worst_case_cost": _MONEY,
        "problems": _NAMES,
        "source_topic": _NAME,
        "source_partition": "Nullable(Int32)",
        "source_offset": "Nullable(Int64)",
        "details": "String",
        "metadata": _MAP,
    },
)

RESULTS: Final = _table(
    "results",
    {
        "event_id": "String",
        "tenant": _NAME,
        "request_id": "String",
        "accepted_at": _TIME,
        "completed_at": _TIME,
        "config_version": _NAME,
        "status": _NAME,
        "error_class": _NAME,
        "error_message": "String",
        "problems": _NAMES,
        "finish_reason": _NAME,
        **_MODEL_COLUMNS,
        "attempts": _COUNT,
        **_TOKEN_COLUMNS,
        **_COST_COLUMNS,
        **_TIMING_COLUMNS,
        **_CONTEXT_COLUMNS,
        "data_classes": _NAMES,
        "tags": "Array(String)",
        "workflow_name": _NAME,
        "workflow_id": "String",
        "workflow_step": _NAME,
        "parent_request_id": "String",
        "experiment_key": "String",
        "traceparent": "String",
        "reply_topic": _NAME,
        "text_characters": _COUNT,
        "metadata": _MAP,
    },
)

RESULT_NOTICES: Final = _table(
    "result_notices",
    {
        "event_id": "String",
        "tenant": _NAME,
        "request_id": "String",
        "kind": _NAME,
        "original_request_id": "String",
        "accepted_at": _TIME,
        "noticed_at": _TIME,
        "config_version": _NAME,
        "error_message": "String",
        "application": _NAME,
        "user": "String",
        "metadata": _MAP,
    },
)

BODIES: Final = _table(
    "bodies",
    {
        "tenant": _NAME,
        "request_id": "String",
        "completed_at": _TIME,
        "side": _NAME,
        "text": "String",
        "parts": "String",
        "retention_days": "UInt16",
        "held": "Bool",
        "erasure": _NAME,
    },
)

USAGE: Final = _table(
    "usage",
    {
        "event_id": "String",
        "tenant": _NAME,
        "request_id": "String",
        "attempt": _COUNT,
        "attempt_id": "String",
        "tries": _COUNT,
        "status": _NAME,
        "accepted_at": _TIME,
        "recorded_at": _TIME,
        "config_version": _NAME,
        **_MODEL_COLUMNS,
        **_TOKEN_COLUMNS,
        **_COST_COLUMNS,
        "corrects": "String",
        "error_class": _NAME,
        **_TIMING_COLUMNS,
        **_CONTEXT_COLUMNS,
        "experiment_key": "String",
        "workflow_id": "String",
        "metadata": _MAP,
    },
)

ATTEMPTS: Final = _table(
    "attempts",
    {
        "tenant": _NAME,
        "request_id": "String",
        "attempt": _COUNT,
        "attempt_id": "String",
        "try": _COUNT,
        "phase": _NAME,
        "at": _TIME,
        "must_end_by": _TIME_OR_NULL,
        "model": _NAME,
        "deployment": _NAME,
        "worker": _NAME,
        "call_topic": _NAME,
        "call_partition": "Int32",
        "call_offset": "Int64",
    },
)

AUDIT: Final = _table(
    "audit",
    {
        "event_id": "String",
        "tenant": _NAME,
        "action": _NAME,
        "actor": _NAME,
        "at": _TIME,
        "config_version": _NAME,
        "sequence": "UInt64",
        "previous_hash": "String",
        "request_id": "String",
        "attempt": "Nullable(UInt32)",
        "model": _NAME,
        "status": _NAME,
        "reason": "String",
        "details": "String",
        "accepted_at": _TIME_OR_NULL,
        **_CONTEXT_COLUMNS,
        "data_classes": _NAMES,
        "metadata": _MAP,
    },
)

DECISIONS: Final = _table(
    "decisions",
    {
        "event_id": "String",
        "tenant": _NAME,
        "request_id": "String",
        "decided_at": _TIME,
        "action": _NAME,
        "attempt": _COUNT,
        "config_version": _NAME,
        "model": _NAME,
        "candidates": _NAMES,
        "rule": _NAME,
        "why": "String",
        "reason": _NAME,
        "problems": _NAMES,
        "worst_case_cost": _MONEY,
        "not_before": _TIME_OR_NULL,
        "accepted_at": _TIME_OR_NULL,
        **_CONTEXT_COLUMNS,
        "data_classes": _NAMES,
        "metadata": _MAP,
    },
)

FEEDBACK: Final = _table(
    "feedback",
    {
        "tenant": _NAME,
        "request_id": "String",
        "at": _TIME,
        "score": "Nullable(Float64)",
        "label": _NAME,
        "comment": "String",
        "source": _NAME,
        "metadata": _MAP,
    },
)

CONFIG_VERSIONS: Final = _table(
    "config_versions",
    {
        "config_version": _NAME,
        "event": _NAME,
        "at": _TIME,
        "content": "String",
        "content_matches": "Bool",
    },
)

DEAD_LETTERS: Final = _table(
    "dead_letters",
    {
        "id": "String",
        "kind": _NAME,
        "stage": _NAME,
        "reason": _NAME,
        "message": "String",
        "at": _TIME,
        "source_topic": _NAME,
        "source_partition": "Int32",
        "source_offset": "Int64",
        "source_timestamp": _TIME_OR_NULL,
        "key": "Nullable(String)",
        "value": "Nullable(String)",
        "headers": "Array(Tuple(key String, value Nullable(String)))",
        "claimed_tenant": _NAME,
        "request_id": "String",
        "retention_days": "UInt16",
        "held": "Bool",
        "erasure": _NAME,
    },
)

TABLES: Final = {
    t.name: t
    for t in (
        REQUESTS, RESULTS, RESULT_NOTICES, BODIES, USAGE, ATTEMPTS, AUDIT, DECISIONS, FEEDBACK, CONFIG_VERSIONS,
        DEAD_LETTERS,
    )
}  # fmt: skip
