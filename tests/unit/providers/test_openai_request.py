"""A call task as an OpenAI-compatible request."""

from typing import Any

import orjson
import pytest

from processors.providers.openai_request import encode
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Message, Parameters, RequestEvent, ResponseFormat, Tool
from schemas.signals import Invalid

MODEL = Model.model_validate({"provider": "p", "vendor_model": "vendor-9"})


def task(**request: Any) -> CallTask:
    return CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=3, max_output_tokens=77, request=RequestEvent(id="r", tenant="t", **request),
    )  # fmt: skip


def body(**request: Any) -> dict[str, Any]:
    encoded = encode(task(**request), MODEL)
    assert (encoded.method, encoded.path) == ("POST", "/chat/completions")
    return dict(orjson.loads(encoded.body))


def text(value: str) -> ContentPart:
    return ContentPart(type="text", text=value)


def test_a_prompt_is_streamed_with_usage_and_bounded() -> None:
    assert body(prompt="hi", system="be kind") == {
        "model": "vendor-9",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 77,
    }


def test_max_tokens_can_t_be_overruled() -> None:
    """The worst case of a call, and so the budget, rests on it."""
    sent = body(prompt="x", parameters=Parameters(max_tokens=9999, extra={"max_tokens": "9999"}))
    assert sent["max_tokens"] == 77


def test_sampling_parameters() -> None:
    parameters = Parameters(
        temperature=0.0, seed=7, stop=["END"], reasoning_effort="low", extra={"top_k": "40"}
    )
    sent = body(prompt="x", parameters=parameters)
    chosen = {key: sent[key] for key in ("temperature", "seed", "stop", "reasoning_effort", "top_k")}
    assert chosen == {"temperature": 0.0, "seed": 7, "stop": ["END"], "reasoning_effort": "low", "top_k": 40}
    assert "top_p" not in sent


def test_parts_become_the_vendor_s_parts() -> None:
    content = [
        ContentPart(type="image", uri="https://x/y.png"),
        ContentPart(type="image", data=b"\x01", media_type="image/png"),
        ContentPart(type="audio", data=b"\x02", media_type="audio/mp3"),
        ContentPart(type="document", data=b"\x03", media_type="application/pdf"),
        ContentPart(type="thinking", text="not sent"),
    ]
    [message] = body(prompt="look", content=content)["messages"]
    assert message["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AQ=="}},
        {"type": "input_audio", "input_audio": {"data": "Ag==", "format": "mp3"}},
        {"type": "file", "file": {"filename": "document", "file_data": "data:application/pdf;base64,Aw=="}},
    ]


def test_a_conversation_with_tools() -> None:
    call = ContentPart(type="tool_call", tool_call_id="c1", tool_name="look", arguments='{"a":1}')
    result = ContentPart(type="tool_result", tool_call_id="c1", text="found")
    messages = [
        Message(role="user", content=[text("find")], name="ann"),
        Message(role="assistant", content=[text("wait"), call]),
        Message(role="tool", content=[result]),
    ]
    tools = [Tool(name="look", description="looks", input_schema='{"type":"object"}')]
    sent = body(messages=messages, tools=tools, tool_choice="look", parallel_tool_calls=False)
    function = {"name": "look", "arguments": '{"a":1}'}
    assert sent["messages"] == [
        {"role": "user", "content": "find", "name": "ann"},
        {"role": "assistant", "content": "wait",
         "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ]  # fmt: skip
    described = {"name": "look", "description": "looks", "parameters": {"type": "object"}}
    assert sent["tools"] == [{"type": "function", "function": described}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert sent["parallel_tool_calls"] is False
    assert body(prompt="x", tools=tools, tool_choice="required")["tool_choice"] == "required"


def test_response_formats() -> None:
    schema = ResponseFormat(type="json_schema", name="n", json_schema='{"type":"object"}', strict=True)
    inner = {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert body(prompt="x", response_format=schema)["response_format"] == {
        "type": "json_schema",
        "json_schema": inner,
    }
    assert body(prompt="x", response_format=ResponseFormat(type="json"))["response_format"] == {
        "type": "json_object"
    }
    assert "response_format" not in body(prompt="x", response_format=ResponseFormat(type="text"))


@pytest.mark.parametrize(
    ("request_fields", "told"),
    [
        ({"prompt": "x", "tools": [Tool(name="look", input_schema="{")]}, "tools.look.input_schema"),
        ({"prompt": "x", "parameters": Parameters(extra={"k": "{"})}, "parameters.extra.k"),
        (
            {"prompt": "x", "parameters": Parameters(extra={"k": "[" * 300 + "]" * 300})},
            "can't be written as JSON",
        ),
        ({"prompt": "x", "content": [ContentPart(type="image")]}, "uri or data"),
        ({"prompt": "x", "content": [ContentPart(type="hologram")]}, "hologram"),
    ],
)
def test_what_can_t_be_expressed_is_refused_with_its_place(request_fields: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid, match=told) as refused:
        body(**request_fields)
    assert refused.value.reason == "invalid_request"
