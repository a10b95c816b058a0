"""The vendor's own types as the judge of what we send and of what the fixtures hold."""

from collections.abc import Mapping
from typing import Any

import orjson
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from anthropic.types.shared import ErrorResponse
from pydantic import BaseModel, TypeAdapter

from processors.providers.anthropic.adapter import AnthropicAdapter
from processors.providers.base import HttpRequest
from schemas.config import Model
from schemas.records import CallTask, RequestEvent

_events: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_requests: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsStreaming)
# Models to Claude 4.6 take them; the newest version of the SDK has left them out.
_SAMPLING = ("temperature", "top_p", "top_k")


def check_event(event: dict[str, Any]) -> None:
    """Raises pydantic.ValidationError where the vendor's SDK doesn't know such an event."""
    if event["type"] == "error":
        ErrorResponse.model_validate(event)
    elif event["type"] != "ping":
        _events.validate_python(event)


def check_message(message: dict[str, Any]) -> None:
    Message.model_validate(message)


def check_error(body: dict[str, Any]) -> None:
    ErrorResponse.model_validate(body)


def check_request(body: dict[str, Any]) -> None:
    """Raises pydantic.ValidationError or AssertionError where a field is wrong, missing or unknown."""
    body = {name: value for name, value in body.items() if name not in _SAMPLING}
    seen = _plain(_requests.validate_python(body))
    assert seen == body, "the vendor knows every field that we send"


def _plain(value: Any) -> Any:
    """The validated request, its lazily checked lists read."""
    if isinstance(value, BaseModel):  # a block of an answer, sent back
        return value.model_dump(exclude_unset=True)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return [_plain(item) for item in value]


def task(max_tokens: int = 4096, **fields: Any) -> CallTask:
    return CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=max_tokens, request=RequestEvent(id="r", **fields),
    )  # fmt: skip


def encoded(
    vendor_model: str = "claude-sonnet-4-5", policy: str = "reject", max_tokens: int = 4096, **fields: Any
) -> HttpRequest:
    told = {"provider": "p", "vendor_model": vendor_model, "unsupported": policy}
    return AnthropicAdapter().encode(task(max_tokens, **fields), Model.model_validate(told))


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    """The body of the request, which the SDK's types have found good."""
    sent: dict[str, Any] = orjson.loads(encoded(*args, **fields).body)
    check_request(sent)
    return sent
