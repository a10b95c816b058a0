"""Cohere's own SDK as the judge: of what we send, of what the fixtures hold, and of what an answer says.

The types of its events have no required fields. What the API's reference tells of each kind is named here.
"""

import inspect
from functools import lru_cache
from typing import Any, Final

import cohere
import httpx
import orjson
from cohere.types.chat_message_v2 import ChatMessageV2
from cohere.types.response_format_v2 import ResponseFormatV2
from cohere.types.thinking import Thinking
from cohere.types.tool_v2 import ToolV2
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse
from pydantic import BaseModel, TypeAdapter

from processors.providers.base import HttpRequest
from processors.providers.cohere.adapter import CohereAdapter
from schemas.config import Model
from schemas.records import CallTask, RequestEvent

_NEEDED: Final = {
    "message-start": ("id", "delta.message.role"),
    "content-start": ("index", "delta.message.content.type"),
    "content-delta": ("index", "delta.message.content"),
    "content-end": ("index",),
    "tool-plan-delta": ("delta.message.tool_plan",),
    "tool-call-start": ("index", "delta.message.tool_calls.id", "delta.message.tool_calls.function.name"),
    "tool-call-delta": ("index", "delta.message.tool_calls.function.arguments"),
    "tool-call-end": ("index",),
    "citation-start": ("index", "delta.message.citations.sources"),
    "citation-end": ("index",),
    "message-end": ("delta.finish_reason", "delta.usage.billed_units", "delta.usage.tokens"),
}
_events: Final[TypeAdapter[Any]] = TypeAdapter(V2ChatStreamResponse)
_FIELDS: Final[dict[str, TypeAdapter[Any]]] = {
    "messages": TypeAdapter(list[ChatMessageV2]),
    "tools": TypeAdapter(list[ToolV2]),
    "response_format": TypeAdapter(ResponseFormatV2),
    "thinking": TypeAdapter(Thinking),
}


def check_event(event: dict[str, Any]) -> None:
    """Raises pydantic.ValidationError or AssertionError where a field is wrong, missing or unknown."""
    seen = _events.validate_python(event)
    assert seen.type == event["type"]
    if event["type"] == "message-start":  # it begins with empty lists
        started = event["delta"]["message"]
        event = {**event, "delta": {"message": {"role": started["role"]}}}
        seen = _events.validate_python(event)
    _nothing_unknown(seen)
    for path in _NEEDED[event["type"]]:
        value: Any = seen
        for step in path.split("."):
            value = getattr(value, step)
            assert value is not None, path


def check_answer(answer: dict[str, Any]) -> None:
    seen = V2ChatResponse.model_validate(answer)
    _nothing_unknown(seen)
    assert seen.usage is not None


def check_as(kind: type[BaseModel], value: dict[str, Any]) -> None:
    _nothing_unknown(kind.model_validate(value))


def _nothing_unknown(value: Any) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, value.model_extra
        for name in type(value).model_fields:
            _nothing_unknown(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            _nothing_unknown(item)


def check_request(sent: HttpRequest) -> dict[str, Any]:
    """The body, which the SDK reads whole and would itself send so, to the same path. Raises where not."""
    body: dict[str, Any] = orjson.loads(sent.body)
    told = dict(body)
    assert told.pop("stream") is True
    for name, adapter in _FIELDS.items():
        if name in told:
            told[name] = adapter.validate_python(told[name])
            _nothing_unknown(told[name])
    assert set(told) <= set(inspect.signature(cohere.ClientV2.chat_stream).parameters)
    client, wire = _client()
    wire.answer = b""
    list(client.chat_stream(**told))
    assert wire.request is not None and str(wire.request.url).endswith(f"/v2{sent.path}")
    assert orjson.loads(wire.request.content) == body
    return body


def read_by_sdk(stream: bytes) -> list[Any]:
    """The events of a stream as the SDK gives them to its caller."""
    client, wire = _client()
    wire.answer = stream
    return list(client.chat_stream(model="command-a-03-2025", messages=[]))


def asked_by_sdk(name: str, answer: bytes, **told: Any) -> tuple[str, Any, Any]:
    """(path, body, answer) of the SDK's call of a method that isn't streamed."""
    client, wire = _client()
    wire.answer, wire.kind = answer, "application/json"
    seen = getattr(client, name)(**told)
    wire.kind = "text/event-stream"
    assert wire.request is not None
    return wire.request.url.path, orjson.loads(wire.request.content), seen


class _Wire:
    """What stands where Cohere would: keeps the request, gives the answer."""

    def __init__(self) -> None:
        self.answer = b""
        self.kind = "text/event-stream"
        self.request: httpx.Request | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        return httpx.Response(200, headers={"content-type": self.kind}, content=self.answer)


@lru_cache(maxsize=1)
def _client() -> tuple[cohere.ClientV2, _Wire]:
    wire = _Wire()
    return cohere.ClientV2("k", httpx_client=httpx.Client(transport=httpx.MockTransport(wire))), wire


def model_of(policy: str = "reject", vendor_model: str = "command-a-03-2025") -> Model:
    return Model.model_validate({"provider": "p", "vendor_model": vendor_model, "unsupported": policy})


def encoded(policy: str = "reject", **fields: Any) -> HttpRequest:
    task = CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=4096, request=RequestEvent(id="r", **fields),
    )  # fmt: skip
    return CohereAdapter().encode(task, model_of(policy))


def body(policy: str = "reject", **fields: Any) -> dict[str, Any]:
    """The body of a request; it has passed the SDK."""
    return check_request(encoded(policy, **fields))
