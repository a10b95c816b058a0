"""The Responses API as the vendor's own types know it: fixtures and requests parse, and lack no field."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from processors.providers.openai.responses import ResponsesAdapter
from schemas.records import ContentPart, Message, Parameters
from tests.unit.providers.openai.requests import REQUESTS
from tests.unit.providers.openai.sdk import (
    Response,
    ResponseCreateParamsStreaming,
    ResponseStreamEvent,
    events,
    fixture,
    fixtures,
    strictly,
    without,
)
from tests.unit.providers.openai.tasks import body_of

ADAPTER = ResponsesAdapter()
STREAMS = fixtures("openai/responses_*.sse")
WHOLES = fixtures("openai/responses*.json")
EVENT: list[tuple[str | int, ...]] = [
    ("type",), ("sequence_number",), ("item_id",), ("output_index",), ("content_index",), ("summary_index",),
    ("delta",),    ("item", "type"), ("response", "id"), ("response", "output"), ("response", "usage", "input_tokens"),
    ("response", "error", "code"), ("message",), ("item", "content", 0, "text"), ("item", "summary"),
    ("item", "call_id"), ("item", "arguments"),
]  # fmt: skip
WHOLE: list[tuple[str | int, ...]] = [
    ("id",), ("object",), ("created_at",), ("model",), ("output",), ("parallel_tool_calls",), ("tool_choice",),
    ("tools",), ("output", 0, "summary"), ("output", 1, "content"), ("usage", "output_tokens_details"),
    ("error", "message"),
]  # fmt: skip
BODY: list[tuple[str | int, ...]] = [
    ("stream",), ("input", 0, "role"), ("input", 2, "content"), ("input", 3, "arguments"), ("input", 3, "name"),
    ("input", 4, "output"), ("tools", 0, "name"), ("tools", 0, "parameters"), ("tools", 0, "strict"),
    ("text", "format", "name"), ("text", "format", "schema"), ("tool_choice", "name"),
    ("input", 0, "content", 1, "detail"),
]  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_the_vendor_s(name: str) -> None:
    told = events(name)
    assert told and [strictly(ResponseStreamEvent, event) for event in told] == told


@pytest.mark.parametrize("name", WHOLES)
def test_whole_answers_are_the_vendor_s(name: str) -> None:
    told = orjson.loads(fixture(name))
    assert strictly(Response, told) == told


# One of each fixture and field.
BROKEN = {
    **{
        (ResponseStreamEvent, f"{n}: {p}"): v
        for n in STREAMS
        for e in events(n)
        for p, v in without(e, EVENT)
    },
    **{(Response, f"{n}: {p}"): v for n in WHOLES for p, v in without(orjson.loads(fixture(n)), WHOLE)},
    **{
        (ResponseCreateParamsStreaming, f"{n}: {p}"): v
        for n, fields in REQUESTS.items()
        for p, v in without(body_of(ADAPTER, **fields), BODY)
    },
}


@pytest.mark.parametrize(("kind", "value"), [pytest.param(k, v, id=n) for (k, n), v in BROKEN.items()])
def test_a_required_field_that_is_missing_is_seen(kind: Any, value: Any) -> None:
    with pytest.raises((ValidationError, AssertionError)):
        strictly(kind, value)


def test_every_required_field_was_taken_away_somewhere() -> None:
    seen = {(kind, name.split(": ")[1]) for kind, name in BROKEN}
    for kind, paths in (
        (ResponseStreamEvent, EVENT),
        (Response, WHOLE),
        (ResponseCreateParamsStreaming, BODY),
    ):
        for path in paths:
            assert (kind, ".".join(map(str, path))) in seen


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS)
def test_requests_are_the_vendor_s(fields: dict[str, Any]) -> None:
    body = body_of(ADAPTER, **fields)
    strictly(ResponseCreateParamsStreaming, body)
    assert (body["max_output_tokens"], body["store"], body["stream"]) == (77, False, True)


@pytest.mark.parametrize("name", ["openai/responses_reasoning.sse", "openai/responses_web_search.sse"])
def test_what_an_answer_held_goes_back_as_the_vendor_s(name: str) -> None:
    decoder = ADAPTER.decoder("text/event-stream")
    decoder.feed(fixture(name))
    parts = decoder.finish().parts
    result = ContentPart(type="tool_result", tool_call_id="call_4567xyz", text="18°")
    talk = [Message(role="assistant", content=parts), Message(role="tool", content=[result])]
    body = body_of(ADAPTER, messages=talk, parameters=Parameters(reasoning_effort="high"))
    assert strictly(ResponseCreateParamsStreaming, body) == body
