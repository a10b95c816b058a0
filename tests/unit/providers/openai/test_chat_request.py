"""A call task as an OpenAI-compatible request."""

from typing import Any

import orjson
import pytest

from processors.providers.base import Adapter
from processors.providers.openai.adapter import OpenAiAdapter
from processors.providers.openai.request import encode
from processors.providers.openai.responses import ResponsesAdapter
from schemas.config import Model, Provider
from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool
from schemas.signals import Invalid
from tests.unit.providers.openai.tasks import MODEL, body_of, task, text

OPENAI = OpenAiAdapter(Provider.model_validate({"kind": "openai", "api_key": "env:K"}))


def body(**request: Any) -> dict[str, Any]:
    encoded = encode(task(**request), MODEL)
    assert (encoded.method, encoded.path) == ("POST", "/chat/completions")
    return dict(orjson.loads(encoded.body))


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
    assert body(prompt="x", parameters=Parameters(max_tokens=9999))["max_tokens"] == 77


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n", "model", "messages", "stream"])
def test_vendor_parameters_can_t_undo_what_was_checked_and_counted(name: str) -> None:
    with pytest.raises(Invalid, match=f"parameters.extra.{name}"):
        body(prompt="x", parameters=Parameters(extra={name: "9"}))


def test_sampling_parameters() -> None:
    parameters = Parameters(
        temperature=0.0, seed=7, stop=["END"], reasoning_effort="low", extra={"min_p": "0.1"}
    )
    sent = body(prompt="x", parameters=parameters)
    chosen = {key: sent[key] for key in ("temperature", "seed", "stop", "reasoning_effort", "min_p")}
    assert chosen == {"temperature": 0.0, "seed": 7, "stop": ["END"], "reasoning_effort": "low", "min_p": 0.1}
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


def test_a_tool_s_message_of_text_alone_may_stand_before_a_result() -> None:
    result = ContentPart(type="tool_result", tool_call_id="c1", text="found")
    messages = [Message(role="tool", content=[text("well")]), Message(role="tool", content=[result])]
    assert [(m["role"], m.get("tool_call_id")) for m in body(messages=messages)["messages"]] == [
        ("tool", None),
        ("tool", "c1"),
    ]


def test_images_of_tool_results_follow_in_a_message_of_the_user() -> None:
    """A tool's message takes text alone, and nothing may stand between the results of one turn."""
    png = b"\x89PNG"
    call = [ContentPart(type="tool_call", tool_call_id=name, tool_name="look") for name in ("c1", "c2")]
    image = ContentPart(type="tool_result", tool_call_id="c1", data=png, media_type="image/png")
    messages = [
        Message(role="assistant", content=call),
        Message(
            role="tool", content=[ContentPart(type="tool_result", tool_call_id="c1", text="seen"), image]
        ),
        Message(role="tool", content=[ContentPart(type="tool_result", tool_call_id="c2", text="two")]),
        Message(role="user", content=[text("and?")]),
    ]
    sent = body(messages=messages)["messages"]
    assert [m["role"] for m in sent] == ["assistant", "tool", "tool", "user", "user"]
    assert [m["content"] for m in sent[1:3]] == ["seen", "two"]
    assert sent[3]["content"] == [
        {"type": "text", "text": "Result of the tool call c1:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    ]


def test_other_vendors_blocks_stay_behind() -> None:
    content = [
        ContentPart(type="thinking", text="hm", signature="sig"),
        ContentPart(type="redacted_thinking", signature="x"),
        ContentPart(type="vendor:anthropic", text="{}"),
    ]
    [sent] = body(messages=[Message(role="assistant", content=content)])["messages"]
    assert sent == {"role": "assistant", "content": ""}


def test_a_cache_hint_sends_equal_prefixes_of_a_tenant_to_the_same_place() -> None:
    def key(first: str, hinted: str, last: str, **fields: Any) -> Any:
        parts = [text(first), text(hinted, cache="ephemeral"), text(last)]
        return body_of(OPENAI, messages=[Message(role="user", content=parts)], **fields).get(
            "prompt_cache_key"
        )

    same = key("a", "b", "c")
    assert same == key("a", "b", "other") and len(same) == 32
    assert len({same, key("x", "b", "c"), key("a", "x", "c"), key("a", "b", "c", system="s")}) == 4
    assert "prompt_cache_key" not in body_of(OPENAI, prompt="x")


def test_objects_of_extra_are_joined_with_ours() -> None:
    adapter = OpenAiAdapter(
        Provider.model_validate({"kind": "openai", "preset": "llama-cpp", "base_url": "http://x/v1"})
    )
    parameters = Parameters(
        reasoning_effort="low", extra={"chat_template_kwargs": '{"enable_thinking":true}'}
    )
    sent = body_of(adapter, prompt="x", parameters=parameters)
    assert sent["chat_template_kwargs"] == {"reasoning_effort": "low", "enable_thinking": True}


def model(vendor_model: str, **fields: Any) -> Model:
    return Model.model_validate(
        {"provider": "p", "vendor_model": vendor_model, "unsupported": "drop", **fields}
    )


@pytest.mark.parametrize(
    ("asked", "effort", "alone"),
    [
        (model("o3-mini"), None, True),
        (model("gpt-5-mini-2025-08-07"), None, True),
        (model("gpt-5"), None, True),
        (model("gpt-5"), "none", False),
        (model("gpt-5-chat-latest"), None, False),
        (model("gpt-5.6"), None, False),
        (model("gpt-4.1"), None, False),
        (model("gpt-5.6", capabilities={"reasoning": True}), None, False),
        (model("gpt-5.6", capabilities={"reasoning": True}), "high", True),
        (model("gpt-5.6", capabilities={"reasoning": True}), "none", False),
    ],
)
@pytest.mark.parametrize("adapter", [OPENAI, ResponsesAdapter()], ids=["chat", "responses"])
def test_models_that_reason_sample_their_own_way(
    adapter: Adapter, asked: Model, effort: str | None, alone: bool
) -> None:
    parameters = Parameters(temperature=0.2, top_p=0.9, reasoning_effort=effort)
    request = adapter.encode(task(prompt="x", parameters=parameters), asked)
    sent = {"temperature", "top_p"} & orjson.loads(request.body).keys()
    assert sent == (set() if alone else {"temperature", "top_p"})
    assert request.dropped == (("parameters.temperature", "parameters.top_p") if alone else ())


def test_models_that_know_no_stop_sequences() -> None:
    request = OPENAI.encode(task(prompt="x", parameters=Parameters(stop=["END"])), model("o4-mini"))
    assert request.dropped == ("parameters.stop",) and "stop" not in orjson.loads(request.body)
    assert body_of(OPENAI, model("o1"), prompt="x", parameters=Parameters(stop=["END"]))["stop"] == ["END"]


def test_other_servers_models_are_not_judged_by_their_names() -> None:
    sent = body_of(OpenAiAdapter(), model("o3-mini"), prompt="x", parameters=Parameters(temperature=0.2))
    assert sent["temperature"] == 0.2


def test_a_gateway_s_reasoning_model_is_bounded_as_such_models_are() -> None:
    """OpenAI's refuse `max_tokens`, whoever stands between."""
    sent = body_of(OpenAiAdapter(), model("gpt-5", capabilities={"reasoning": True}), prompt="x")
    assert sent["max_completion_tokens"] == 77 and "max_tokens" not in sent
