"""From a decoded request to a classified one: validate, normalise, estimate."""

from typing import Any, Final, Protocol

import msgspec

from processors.classify.content import check_content
from processors.classify.features import estimate_tokens, features_of, task_type_of
from processors.classify.fields import check_fields, usable_trace
from processors.classify.meaning import body_hash
from processors.classify.problems import Problems, shown
from processors.request_size import measured
from schemas import ids
from schemas.config import Config, Tenant
from schemas.names import LANES, Lane
from schemas.records import ClassifiedRequest, ContentPart, Message, RequestEvent
from schemas.signals import Invalid

_EMPTY: Final = RequestEvent()
_CONTENT: Final = (
    "prompt", "messages", "system", "content", "tools", "tool_choice", "response_format", "prompt_variables",
)  # fmt: skip


class Source(Protocol):
    """Where the request lay; `timestamp` is its LogAppendTime, milliseconds since the epoch."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...


def classify(event: RequestEvent, source: Source, config: Config, config_version: str) -> ClassifiedRequest:
    """The request validated and normalised; `problems` says why it must be refused, if it must.

    A request with problems travels on without its content and without the values that are unfit to be echoed.
    Raises Invalid("missing_tenant" | "unknown_tenant") where nobody may be told a result.
    """
    tenant = _tenant_of(event, config)
    problems = Problems()
    size = measured(event)
    check_fields(event, config, tenant, source.timestamp, problems)
    check_content(event, size.content, config.limits.max_prompt_bytes, problems)
    request = _normalised(event, source)
    lane = _lane_of(event, tenant, config)
    deadline = event.deadline_at if "deadline_at" not in problems.cleared else None
    if deadline is None:
        deadline = source.timestamp + int(config.defaults.deadline_s * 1000)
    sound = _without_unfit(request, problems, source) if problems.found else request
    return ClassifiedRequest(
        source_topic=source.topic,
        source_partition=source.partition,
        source_offset=source.offset,
        accepted_at=source.timestamp,
        config_version=config_version,
        body_hash=body_hash(request),
        task_type=task_type_of(msgspec.structs.replace(request, task_type=sound.task_type)),
        lane=lane,
        deadline_at=deadline,
        input_tokens_estimate=estimate_tokens(event, size),
        request=sound,
        problems=problems.found,
        features=features_of(request, size),
    )


def _tenant_of(event: RequestEvent, config: Config) -> Tenant:
    if not event.tenant:
        raise Invalid("missing_tenant", "the request names no tenant: set the field `tenant`")
    tenant = config.tenants.get(event.tenant)
    if tenant is None:
        named = shown(event.tenant)
        message = f"tenant {named} is not configured: mend the name, or add it to the configuration"
        raise Invalid("unknown_tenant", message)
    return tenant


def _lane_of(event: RequestEvent, tenant: Tenant, config: Config) -> Lane:
    wanted: Lane | None = next((lane for lane in LANES if lane == event.lane), None)
    return wanted or tenant.default_lane or config.defaults.lane


def _normalised(event: RequestEvent, source: Source) -> RequestEvent:
    """The request with an id, its prompt as a message, and a usable trace context or none."""
    traceparent, tracestate = usable_trace(event)
    changes: dict[str, Any] = {"traceparent": traceparent, "tracestate": tracestate}
    if not event.id:
        changes["id"] = ids.request_id_of(source.topic, source.partition, source.offset)
    if event.idempotency_key == "":
        changes["idempotency_key"] = None
    if not event.messages and (event.prompt is not None or event.content):
        text = [ContentPart(type="text", text=event.prompt)] if event.prompt else []
        message = Message(role="user", content=[*text, *event.content])
        changes |= {"messages": [message], "prompt": None, "content": []}
    return msgspec.structs.replace(event, **changes)


def _without_unfit(request: RequestEvent, problems: Problems, source: Source) -> RequestEvent:
    """A refused request for its way to the result: small, and without what must not be echoed."""
    unfit = (problems.cleared | set(_CONTENT)) & set(RequestEvent.__struct_fields__)
    changes: dict[str, Any] = {name: getattr(_EMPTY, name) for name in unfit}
    changes["parameters"] = None
    if "id" in unfit:
        changes["id"] = ids.request_id_of(source.topic, source.partition, source.offset)
    return msgspec.structs.replace(request, **changes)
