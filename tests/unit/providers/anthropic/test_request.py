"""Requests as Anthropic wants them; every body here has passed the vendor's own types."""

from typing import Any

import pytest

from processors.providers.anthropic.models import _generation
from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool
from schemas.signals import Invalid
from tests.unit.providers.anthropic.sdk import body, encoded

PNG = b"\x89PNG"


def text(value: str, **fields: Any) -> ContentPart:
    return ContentPart(type="text", text=value, **fields)


def user(*parts: ContentPart) -> Message:
    return Message(role="user", content=list(parts))


def test_a_prompt() -> None:
    request = encoded(prompt="hello", system="be brief")
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.headers == {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    assert body(prompt="hello", system="be brief") == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "system": "be brief",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "stream": True,
    }


def test_content_of_every_kind() -> None:
    parts = [
        ContentPart(type="image", data=PNG, media_type="image/png"),
        ContentPart(type="image", uri="https://files.example/x.jpg"),
        ContentPart(type="document", data=b"%PDF", media_type="application/pdf"),
        ContentPart(type="document", uri="https://files.example/x.pdf"),
        ContentPart(type="document", data="größe".encode(), media_type="text/markdown"),
        ContentPart(type="document", text="plain"),
    ]
    [message] = body(prompt="look", content=parts)["messages"]
    assert message["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
        {"type": "image", "source": {"type": "url", "url": "https://files.example/x.jpg"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
        },
        {"type": "document", "source": {"type": "url", "url": "https://files.example/x.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "größe"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
    ]


def test_a_conversation_with_tools_alternates() -> None:
    """Two results, one of them a text and an image, and what the user adds are one turn, results first."""
    call = ContentPart(type="tool_call", tool_call_id="c1", tool_name="look", arguments='{"a":1}')
    other = ContentPart(type="tool_call", tool_call_id="c2", tool_name="ask", arguments="")
    result = ContentPart(type="tool_result", tool_call_id="c1", text="found")
    picture = ContentPart(type="tool_result", tool_call_id="c1", data=PNG, media_type="image/png")
    failed = ContentPart(type="tool_result", tool_call_id="c2", text="no such page", is_error=True)
    messages = [
        user(text("find")),
        Message(role="assistant", content=[text("wait"), call, other]),
        user(text("and hurry")),
        Message(role="tool", content=[result, picture]),
        Message(role="tool", content=[failed]),
    ]
    tools = [Tool(name="look", description="looks", input_schema='{"properties":{}}'), Tool(name="ask")]
    sent = body(messages=messages, tools=tools)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"][1:] == [
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}},
        {"type": "tool_use", "id": "c2", "name": "ask", "input": {}},
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}}
    assert sent["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "found"}, image]},
        {"type": "tool_result", "tool_use_id": "c2", "content": "no such page", "is_error": True},
        {"type": "text", "text": "and hurry"},
    ]
    assert sent["tools"] == [
        {"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {}}},
        {"name": "ask", "input_schema": {"type": "object"}},
    ]


def test_thinking_goes_back_unchanged_but_only_the_vendor_s_own() -> None:
    block = '{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"x"}}'
    parts = [
        ContentPart(type="thinking", text="hm", signature="c2ln", id="anthropic"),
        ContentPart(type="thinking", text="by hand", signature="c2ln"),
        ContentPart(type="redacted_thinking", signature="b3BhcXVl", id="anthropic"),
        ContentPart(type="vendor:anthropic", text=block),
        ContentPart(type="thinking", text="unsigned"),
        ContentPart(type="thinking", text="theirs", signature="enc", id="rs_123"),
        ContentPart(type="redacted_thinking", signature="enc", id="bedrock"),
        ContentPart(type="vendor:gemini", text="{}"),
        text(""),
    ]
    sent = body(messages=[user(text("x")), Message(role="assistant", content=parts), user(text("y"))])
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "thinking", "thinking": "by hand", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
    ]


def test_a_turn_of_which_nothing_can_be_sent_is_left_out() -> None:
    foreign = Message(role="assistant", content=[ContentPart(type="thinking", text="unsigned")])
    assert len(body(messages=[user(text("x")), foreign])["messages"]) == 1


def test_cache_hints() -> None:
    parts = [text("a", cache="ephemeral"), text("b", cache="ephemeral_1h"), text("c", cache="ephemeral_5m")]
    [message] = body(messages=[user(*parts)])["messages"]
    assert [block["cache_control"] for block in message["content"]] == [
        {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral", "ttl": "5m"}
    ]  # fmt: skip


def test_thinking_takes_no_cache_hint() -> None:
    said = [ContentPart(type="thinking", text="hm", signature="c2ln", cache="ephemeral")]
    talk = [user(text("x")), Message(role="assistant", content=said), user(text("y"))]
    sent = body(policy="drop", messages=talk)
    assert "cache_control" not in sent["messages"][1]["content"][0]
    with pytest.raises(Invalid, match=r"content\.cache: reasoning"):
        encoded(messages=talk)


@pytest.mark.parametrize(
    ("vendor_model", "family", "generation"),
    [
        ("claude-3-opus-20240229", "opus", (3, 0)),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "sonnet", (3, 5)),
        ("us.anthropic.claude-opus-4-20250514-v1:7", "opus", (4, 0)),
        ("claude-opus-4-1-20250805", "opus", (4, 1)),
        ("claude-sonnet-4-5@20250929", "sonnet", (4, 5)),
        ("anthropic/claude-opus-4.7", "opus", (4, 7)),
        ("claude-fable-5", "fable", (5, 0)),
    ],
)
def test_the_generation_is_read_from_every_form_of_a_name(
    vendor_model: str, family: str, generation: tuple[int, int]
) -> None:
    assert _generation(vendor_model.partition("claude-")[2]) == (family, generation)


def test_the_last_four_cache_hints_are_kept() -> None:
    parts = [text(str(n), cache="ephemeral") for n in range(6)]
    with pytest.raises(Invalid, match=r"content\.cache: this vendor takes 4"):
        encoded(messages=[user(*parts)])
    [message] = body(policy="drop", messages=[user(*parts)])["messages"]
    assert ["cache_control" in block for block in message["content"]] == [False] * 2 + [True] * 4
    assert encoded(policy="drop", messages=[user(*parts)]).dropped == ("content.cache",)


def test_sampling_and_stops() -> None:
    wanted = Parameters(temperature=0.5, top_p=0.9, top_k=40, stop=["END"], service_tier="default")
    sent = body(prompt="x", parameters=wanted)
    chosen = {k: sent[k] for k in ("temperature", "top_p", "top_k", "stop_sequences", "service_tier")}
    assert chosen == {
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["END"], "service_tier": "standard_only"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("vendor_model", "parameters", "name"),
    [
        ("claude-sonnet-4-5", {"seed": 1}, "seed"),
        ("claude-sonnet-4-5", {"frequency_penalty": 1.0}, "frequency_penalty"),
        ("claude-sonnet-4-5", {"presence_penalty": 1.0}, "presence_penalty"),
        ("claude-sonnet-4-5", {"temperature": 1.5}, "temperature"),
        ("claude-sonnet-4-5", {"service_tier": "flex"}, "service_tier"),
        ("claude-sonnet-4-5", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("claude-opus-4-5", {"reasoning_effort": "max"}, "reasoning_effort"),
        ("claude-opus-4-6", {"reasoning_effort": "xhigh"}, "reasoning_effort"),
        ("claude-opus-4-6", {"reasoning_effort": "high", "temperature": 0.0}, "temperature"),
        ("claude-opus-4-6", {"reasoning_effort": "high", "top_k": 5}, "top_k"),
        ("claude-opus-4-7", {"temperature": 0.5}, "temperature"),
        ("claude-sonnet-5", {"top_p": 0.5}, "top_p"),
        ("claude-haiku-5-5", {"top_k": 5}, "top_k"),
        ("claude-opus-4-8", {"reasoning_budget": 2000}, "reasoning_budget"),
        ("claude-fable-5-1", {"reasoning_effort": "none"}, "reasoning_effort"),
    ],
)
def test_what_a_model_can_t_take_is_refused_or_dropped_by_its_policy(
    vendor_model: str, parameters: dict[str, Any], name: str
) -> None:
    wanted = Parameters(**parameters)
    with pytest.raises(Invalid, match=rf"^unsupported_parameter: parameters\.{name}: ") as refused:
        encoded(vendor_model, prompt="x", parameters=wanted)
    assert refused.value.reason == "unsupported_parameter"
    request = encoded(vendor_model, "drop", prompt="x", parameters=wanted)
    assert request.dropped == (f"parameters.{name}",)
    sent = body(vendor_model, "drop", prompt="x", parameters=wanted)
    assert name not in sent and sent.get("output_config", {}).get("effort") in (None, "high")


@pytest.mark.parametrize(
    ("vendor_model", "parameters", "thinking", "effort"),
    [
        ("claude-3-7-sonnet-20250219", {"reasoning_budget": 2000}, "enabled", None),
        ("claude-sonnet-4-5@20250929", {"reasoning_budget": 2000}, "enabled", None),
        ("claude-opus-4-5-20251101", {"reasoning_effort": "low"}, None, "low"),
        ("claude-opus-4-5", {"reasoning_effort": "low", "reasoning_budget": 2000}, "enabled", "low"),
        ("claude-sonnet-4-6", {"reasoning_effort": "max"}, "adaptive", "max"),
        ("claude-sonnet-4-6", {"reasoning_effort": "low", "reasoning_budget": 2000}, "enabled", "low"),
        ("claude-opus-4-7", {"reasoning_effort": "xhigh"}, "adaptive", "xhigh"),
        ("claude-mythos-preview", {"reasoning_effort": "low"}, "adaptive", "low"),
        ("claude-haiku-4-5", {"reasoning_effort": "none"}, None, None),
        ("claude-sonnet-5", {"reasoning_effort": "none"}, "disabled", None),
        ("smollm2", {"reasoning_effort": "high"}, "adaptive", "high"),
        ("claude-sonnet-5", {}, None, None),
    ],
)
def test_reasoning_as_each_generation_wants_it(
    vendor_model: str, parameters: dict[str, Any], thinking: str | None, effort: str | None
) -> None:
    sent = body(vendor_model, prompt="x", parameters=Parameters(**parameters))
    assert sent.get("thinking", {}).get("type") == thinking
    assert sent.get("thinking", {}).get("budget_tokens") == (2000 if thinking == "enabled" else None)
    assert sent.get("output_config", {}).get("effort") == effort


@pytest.mark.parametrize("budget", [0, 1023, 4096])
def test_a_budget_that_can_t_be_met_is_refused(budget: int) -> None:
    with pytest.raises(
        Invalid, match=r"reasoning_budget is \d+: it must be at least 1024 and below max_tokens"
    ):
        encoded(prompt="x", parameters=Parameters(reasoning_budget=budget))


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        ("auto", True, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ("look", False, {"type": "tool", "name": "look", "disable_parallel_tool_use": True}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice(choice: str | None, parallel: bool | None, sent: dict[str, Any] | None) -> None:
    asked = body(prompt="x", tools=[Tool(name="look")], tool_choice=choice, parallel_tool_calls=parallel)
    assert asked.get("tool_choice") == sent


def test_a_model_that_reasons_can_t_be_made_to_call_a_tool() -> None:
    wanted = Parameters(reasoning_budget=2000)
    fields: dict[str, Any] = {
        "prompt": "x", "tools": [Tool(name="look")], "tool_choice": "required", "parameters": wanted
    }  # fmt: skip
    with pytest.raises(Invalid, match="tool_choice"):
        encoded(**fields)
    assert "tool_choice" not in body(policy="drop", **fields)


def test_a_json_schema() -> None:
    form = ResponseFormat(type="json_schema", name="n", json_schema='{"type":"object"}', strict=True)
    sent = body(
        "claude-opus-4-6", prompt="x", response_format=form, parameters=Parameters(reasoning_effort="low")
    )
    assert sent["output_config"] == {
        "effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}
    }  # fmt: skip
    assert "output_config" not in body(prompt="x", response_format=ResponseFormat(type="text"))


@pytest.mark.parametrize(
    ("vendor_model", "kind"), [("claude-sonnet-4-5", "json"), ("claude-opus-4-1-20250805", "json_schema")]
)
def test_a_form_of_output_that_the_model_doesn_t_know(vendor_model: str, kind: str) -> None:
    form = ResponseFormat(type=kind, json_schema="{}")
    with pytest.raises(Invalid, match="unsupported_parameter: response_format"):
        encoded(vendor_model, prompt="x", response_format=form)
    assert encoded(vendor_model, "drop", prompt="x", response_format=form).dropped == ("response_format",)


def test_the_vendor_s_own_parameters_are_joined_with_ours() -> None:
    search = '[{"type":"web_search_20250305","name":"web_search"}]'
    more = {"metadata": '{"user_id":"u"}', "output_config": '{"effort":"medium"}', "tools": search}
    form = ResponseFormat(type="json_schema", json_schema="{}")
    sent = body(
        prompt="x", parameters=Parameters(extra=more), response_format=form, tools=[Tool(name="look")]
    )
    assert sent["metadata"] == {"user_id": "u"}
    assert sent["output_config"] == {"format": {"type": "json_schema", "schema": {}}, "effort": "medium"}
    assert [tool["name"] for tool in sent["tools"]] == ["look", "web_search"]
    with pytest.raises(Invalid, match=r"parameters\.extra\.max_tokens"):
        encoded(prompt="x", parameters=Parameters(extra={"max_tokens": "1"}))


def test_names_of_speakers_and_unknown_hints_are_dropped_by_the_policy() -> None:
    named = Message(role="user", content=[text("x", cache="for ever")], name="ann")
    with pytest.raises(Invalid, match=r"unsupported_parameter: messages\.name"):
        encoded(messages=[named])
    request = encoded(policy="drop", messages=[named])
    assert request.dropped == ("messages.name", "content.cache")
    assert body(policy="drop", messages=[named])["messages"][0]["content"] == [{"type": "text", "text": "x"}]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": "x", "content": [ContentPart(type="image")]}, "uri or data"),
        ({"prompt": "x", "content": [ContentPart(type="image", data=PNG, media_type="image/tiff")]}, "tiff"),
        ({"prompt": "x", "content": [ContentPart(type="document", data=b"x", media_type="a/b")]}, "a/b"),
        (
            {"prompt": "x", "content": [ContentPart(type="document", data=b"\xff", media_type="text/x")]},
            "UTF-8",
        ),
        ({"prompt": "x", "content": [ContentPart(type="document")]}, "uri, data or text"),
        ({"prompt": "x", "content": [ContentPart(type="audio", data=b"x")]}, "audio"),
        ({"prompt": "x", "tools": [Tool(name="look", input_schema="[]")]}, "tools.look.input_schema"),
        ({"prompt": "x", "parameters": Parameters(extra={"k": "{"})}, "parameters.extra.k"),
        ({"messages": [Message(role="judge", content=[text("x")])]}, "judge"),
        (
            {"prompt": "x", "content": [ContentPart(type="tool_call", tool_name="look", arguments="[1]")]},
            "arguments of tool call 'look'",
        ),
        ({"prompt": "x", "content": [ContentPart(type="vendor:anthropic", text="nope")]}, "vendor:anthropic"),
    ],
)
def test_what_can_t_be_expressed_is_refused_with_its_place(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid, match=told) as refused:
        encoded(**fields)
    assert refused.value.reason == "invalid_request"
