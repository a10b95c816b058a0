"""A request on its way in: as published, as classify passes it on, and as a call of a model."""

from decimal import Decimal

import msgspec

from schemas.records.parts import ContentPart, Message, Parameters, Problem, ResponseFormat, Tool


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
