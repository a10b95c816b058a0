"""What comes of a request: an attempt's outcome, the text as it grows, the result, its usage, feedback on it."""

from decimal import Decimal

import msgspec

from schemas.records.parts import ContentPart, ErrorInfo, Problem, Timings, Usage
from schemas.records.requests import CallTask


class Outcome(msgspec.Struct, kw_only=True):
    event_id: str
    request_id: str
    tenant: str
    attempt: int
    attempt_id: str
    tries: int
    model: str
    status: str
    config_version: str
    timings: Timings
    provider: str | None = None
    deployment: str | None = None
    vendor_model: str | None = None
    vendor_response_id: str | None = None
    finish_reason: str | None = None
    finish_reason_raw: str | None = None
    output: list[ContentPart] = []
    usage: Usage | None = None
    cost: Decimal | None = None
    cost_basis: str | None = None
    price_version: str | None = None
    error: ErrorInfo | None = None
    task: CallTask | None = None
    dropped: list[str] = []


class DeltaEvent(msgspec.Struct, kw_only=True):
    request_id: str
    tenant: str
    attempt: int
    attempt_id: str
    sequence: int
    kind: str
    at: int
    text: str = ""
    index: int = 0
    model: str | None = None
    status: str | None = None
    finish_reason: str | None = None
    complete: bool = True


class ResultEvent(msgspec.Struct, kw_only=True):
    event_id: str
    kind: str
    request_id: str
    tenant: str
    status: str
    config_version: str
    accepted_at: int
    completed_at: int
    original_request_id: str | None = None
    error_class: str | None = None
    error_message: str | None = None
    problems: list[Problem] = []
    finish_reason: str | None = None
    finish_reason_raw: str | None = None
    text: str | None = None
    output: list[ContentPart] = []
    model: str | None = None
    provider: str | None = None
    deployment: str | None = None
    vendor_model: str | None = None
    attempts: int = 0
    usage: Usage | None = None
    cost: Decimal | None = None
    cost_basis: str | None = None
    price_version: str | None = None
    timings: Timings | None = None
    lane: str | None = None
    task_type: str | None = None
    application: str | None = None
    user: str | None = None
    session_id: str | None = None
    purpose: str | None = None
    data_classes: list[str] = []
    tags: list[str] = []
    workflow_name: str | None = None
    workflow_id: str | None = None
    workflow_step: str | None = None
    parent_request_id: str | None = None
    experiment_key: str | None = None
    traceparent: str | None = None
    reply_topic: str | None = None
    metadata: dict[str, str] = {}
    retention_days: int | None = None
    dropped: list[str] = []


class UsageEvent(msgspec.Struct, kw_only=True):
    event_id: str
    request_id: str
    tenant: str
    attempt: int
    attempt_id: str
    tries: int
    status: str
    model: str
    config_version: str
    accepted_at: int
    recorded_at: int
    usage: Usage
    cost: Decimal | None = None
    cost_basis: str | None = None
    price_version: str | None = None
    corrects: str | None = None
    provider: str | None = None
    deployment: str | None = None
    vendor_model: str | None = None
    error_class: str | None = None
    timings: Timings | None = None
    lane: str | None = None
    task_type: str | None = None
    application: str | None = None
    user: str | None = None
    session_id: str | None = None
    purpose: str | None = None
    experiment_key: str | None = None
    workflow_id: str | None = None
    metadata: dict[str, str] = {}


class Feedback(msgspec.Struct, kw_only=True):
    request_id: str
    tenant: str
    at: int
    score: float | None = None
    label: str | None = None
    comment: str | None = None
    source: str | None = None
    metadata: dict[str, str] = {}
