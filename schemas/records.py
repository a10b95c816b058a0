"""The events of Sluice as typed records: one struct for each Avro record in `schemas/avro`.

Times are integers, milliseconds since the epoch, UTC (Avro `timestamp-millis` on the wire). Costs are
`Decimal` in US dollars with nine places (Avro `decimal(18, 9)`). A token count of None means "unknown".
Field meanings are documented once, in the `.avsc` files; a test holds the two sets of fields equal.
"""

from decimal import Decimal

import msgspec


class ContentPart(msgspec.Struct, kw_only=True, omit_defaults=False):
    type: str
    text: str | None = None
    uri: str | None = None
    sha256: str | None = None
    media_type: str | None = None
    data: bytes | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    arguments: str | None = None
    is_error: bool | None = None
    signature: str | None = None
    cache: str | None = None
    id: str | None = None


class Message(msgspec.Struct, kw_only=True):
    role: str
    content: list[ContentPart] = []
    name: str | None = None


class Parameters(msgspec.Struct, kw_only=True):
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: list[str] = []
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    extra: dict[str, str] = {}
    top_k: int | None = None
    reasoning_budget: int | None = None


class ResponseFormat(msgspec.Struct, kw_only=True):
    type: str
    name: str | None = None
    json_schema: str | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, kw_only=True):
    name: str
    description: str | None = None
    input_schema: str = "{}"


class RequestEvent(msgspec.Struct, kw_only=True):
    id: str = ""
    tenant: str = ""
    prompt: str | None = None
    messages: list[Message] = []
    system: str | None = None
    content: list[ContentPart] = []
    parameters: Parameters | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] = []
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    application: str | None = None
    user: str | None = None
    purpose: str | None = None
    session_id: str | None = None
    tags: list[str] = []
    data_classes: list[str] = []
    output_type: str | None = None
    lane: str | None = None
    deadline_at: int | None = None
    task_type: str | None = None
    model: str | None = None
    candidate_models: list[str] = []
    experiment_key: str | None = None
    reply_topic: str | None = None
    idempotency_key: str | None = None
    workflow_name: str | None = None
    workflow_id: str | None = None
    workflow_step: str | None = None
    parent_request_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    max_cost: Decimal | None = None
    target_latency_ms: int | None = None
    quality_floor: float | None = None
    prompt_template: str | None = None
    prompt_template_version: str | None = None
    prompt_variables: dict[str, str] = {}
    cache: str | None = None
    stream_deltas: bool = False
    metadata: dict[str, str] = {}


class Problem(msgspec.Struct, kw_only=True):
    """Why a request is refused: `code` for programs, `message` for people (says what to fix)."""

    code: str
    message: str
    field: str | None = None


class ClassifiedRequest(msgspec.Struct, kw_only=True):
    source_topic: str
    source_partition: int
    source_offset: int
    accepted_at: int
    config_version: str
    body_hash: bytes
    task_type: str
    lane: str
    deadline_at: int
    input_tokens_estimate: int
    request: RequestEvent
    problems: list[Problem] = []
    features: dict[str, float] = {}


class CallTask(msgspec.Struct, kw_only=True):
    request_id: str
    tenant: str
    attempt: int
    attempt_id: str
    model: str
    lane: str
    task_type: str
    accepted_at: int
    deadline_at: int
    issued_at: int
    config_version: str
    route_partition: int
    input_tokens_estimate: int
    max_output_tokens: int
    request: RequestEvent
    not_before: int | None = None
    worst_case_cost: Decimal | None = None
    previous_errors: list[str] = []


class Usage(msgspec.Struct, kw_only=True):
    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    estimated: bool = False
    raw: str | None = None
    cache_write_1h: int | None = None
    tool_input: int | None = None
    image_input: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    service_tier: str | None = None


class ErrorInfo(msgspec.Struct, kw_only=True):
    error_class: str
    message: str
    retriable: bool = False
    maybe_paid: bool = False
    retry_after_ms: int | None = None


class Timings(msgspec.Struct, kw_only=True):
    accepted_at: int
    issued_at: int | None = None
    started_at: int | None = None
    first_token_at: int | None = None
    completed_at: int | None = None


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


class AuditEvent(msgspec.Struct, kw_only=True):
    event_id: str
    tenant: str
    action: str
    actor: str
    at: int
    config_version: str
    sequence: int
    previous_hash: bytes
    request_id: str | None = None
    attempt: int | None = None
    model: str | None = None
    status: str | None = None
    reason: str | None = None
    details: str = "{}"
    accepted_at: int | None = None
    lane: str | None = None
    task_type: str | None = None
    application: str | None = None
    user: str | None = None
    session_id: str | None = None
    purpose: str | None = None
    data_classes: list[str] = []
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


class Control(msgspec.Struct, kw_only=True):
    event_id: str
    command: str
    at: int
    actor: str
    tenant: str | None = None
    request_id: str | None = None
    model: str | None = None
    reason: str | None = None
    dead_letter_id: str | None = None
    resolution: str | None = None
    task: CallTask | None = None
    user: str | None = None


class Header(msgspec.Struct, kw_only=True):
    key: str
    value: bytes | None = None


class DeadLetter(msgspec.Struct, kw_only=True):
    id: str
    kind: str
    stage: str
    reason: str
    message: str
    at: int
    source_topic: str
    source_partition: int
    source_offset: int
    source_timestamp: int
    key: bytes | None = None
    value: bytes | None = None
    headers: list[Header] = []
    claimed_tenant: str | None = None
    request_id: str | None = None
    retention_days: int | None = None


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


class Attempt(msgspec.Struct, kw_only=True):
    """A record of the attempt journal (`llm.attempts`)."""

    phase: str
    attempt_id: str
    request_id: str
    tenant: str
    attempt: int
    try_: int = msgspec.field(name="try")
    model: str
    call_topic: str
    call_partition: int
    call_offset: int
    at: int
    must_end_by: int
    worker: str
    deployment: str | None = None
    format_version: int = 1
    key_name: str | None = None


type_names: dict[str, type[msgspec.Struct]] = {
    f"sluice.{t.__name__}": t
    for t in (
        RequestEvent, ClassifiedRequest, CallTask, Outcome, ResultEvent, UsageEvent, AuditEvent,
        Feedback, Control, DeadLetter, Attempt, DeltaEvent,
    )
}  # fmt: skip
