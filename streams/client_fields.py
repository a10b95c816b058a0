"""The keyword arguments of `Client.submit`: the fields of a RequestEvent (a test holds the two equal)."""

from decimal import Decimal
from typing import TypedDict

from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool


class RequestFields(TypedDict, total=False):
    """Each is documented in `sluice.RequestEvent.avsc`; `tenant` and `prompt` (or `messages`) are needed."""

    id: str
    tenant: str
    prompt: str | None
    messages: list[Message]
    system: str | None
    content: list[ContentPart]
    parameters: Parameters | None
    response_format: ResponseFormat | None
    tools: list[Tool]
    tool_choice: str | None
    parallel_tool_calls: bool | None
    application: str | None
    user: str | None
    purpose: str | None
    session_id: str | None
    tags: list[str]
    data_classes: list[str]
    output_type: str | None
    lane: str | None
    deadline_at: int | None
    task_type: str | None
    model: str | None
    candidate_models: list[str]
    experiment_key: str | None
    reply_topic: str | None
    idempotency_key: str | None
    workflow_name: str | None
    workflow_id: str | None
    workflow_step: str | None
    parent_request_id: str | None
    traceparent: str | None
    tracestate: str | None
    max_cost: Decimal | None
    target_latency_ms: int | None
    quality_floor: float | None
    prompt_template: str | None
    prompt_template_version: str | None
    prompt_variables: dict[str, str]
    cache: str | None
    stream_deltas: bool
    metadata: dict[str, str]
