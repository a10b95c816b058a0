"""Requests as Converse wants them; every body here is what botocore itself would have sent."""

from typing import Any

import pytest

from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool
from schemas.signals import Invalid
from tests.unit.providers.bedrock.shapes import CLAUDE, body, encoded

PNG = b"\x89PNG"
NOVA = "amazon.nova-pro-v1:0"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"


def text(value: str, **fields: Any) -> ContentPart:
    return ContentPart(type="text", text=value, **fields)


def user(*parts: ContentPart) -> Message:
    return Message(role="user", content=list(parts))


def test_a_prompt() -> None:
    request = encoded(prompt="hello")
    assert request.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert body(prompt="hello", system="be brief") == {
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "system": [{"text": "be brief"}],
        "inferenceConfig": {"maxTokens": 4096},
    }


def test_a_model_named_by_its_arn_is_one_segment_of_the_path() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2"
    assert "/a1b2" not in encoded(arn, prompt="x").path
    body(arn, prompt="x")


def test_content_of_every_kind() -> None:
    parts = [
        ContentPart(type="image", data=PNG, media_type="image/png"),
        ContentPart(type="image", uri="s3://bucket/x.jpg", media_type="image/jpeg"),
        ContentPart(type="document", data=b"%PDF", media_type="application/pdf"),
        ContentPart(type="document", text="plain"),
        ContentPart(type="audio", data=b"snd", media_type="audio/wav"),
    ]
    [message] = body(prompt="look", content=parts)["messages"]
    assert message["content"] == [
        {"text": "look"},
        {"image": {"format": "png", "source": {"bytes": "iVBORw=="}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/x.jpg"}}}},
        {"document": {"format": "pdf", "name": "document-1", "source": {"bytes": "JVBERg=="}}},
        {"document": {"format": "txt", "name": "document-2", "source": {"bytes": "cGxhaW4="}}},
        {"audio": {"format": "wav", "source": {"bytes": "c25k"}}},
    ]


def test_a_conversation_with_tools_alternates() -> None:
    call = ContentPart(type="tool_call", tool_call_id="c1", tool_name="look", arguments='{"a":1}')
    result = ContentPart(type="tool_result", tool_call_id="c1", text="found")
    picture = ContentPart(type="tool_result", tool_call_id="c1", data=PNG, media_type="image/png")
    paper = ContentPart(type="tool_result", tool_call_id="c1", data=b"%PDF", media_type="application/pdf")
    failed = ContentPart(type="tool_result", tool_call_id="c2", text="no such page", is_error=True)
    messages = [
        user(text("find")),
        Message(role="assistant", content=[text("wait"), call]),
        Message(role="tool", content=[result, picture, paper]),
        Message(role="tool", content=[failed]),
        user(text("and hurry")),
    ]
    tools = [Tool(name="look", description="looks", input_schema='{"properties":{}}'), Tool(name="ask")]
    sent = body(messages=messages, tools=tools)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"][1] == {
        "toolUse": {"toolUseId": "c1", "name": "look", "input": {"a": 1}}
    }
    found = [
        {"text": "found"},
        {"image": {"format": "png", "source": {"bytes": "iVBORw=="}}},
        {"document": {"format": "pdf", "name": "document-1", "source": {"bytes": "JVBERg=="}}},
    ]
    assert sent["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "c1", "content": found}},
        {"toolResult": {"toolUseId": "c2", "content": [{"text": "no such page"}], "status": "error"}},
        {"text": "and hurry"},
    ]
    object_schema = {"json": {"type": "object", "properties": {}}}
    assert sent["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "look", "description": "looks", "inputSchema": object_schema}},
        {"toolSpec": {"name": "ask", "inputSchema": {"json": {"type": "object"}}}},
    ]


def test_reasoning_goes_back_unchanged_but_only_the_vendor_s_own() -> None:
    block = '{"toolUse":{"toolUseId":"s1","name":"nova_grounding","input":{},"type":"server_tool_use"}}'
    parts = [
        ContentPart(type="thinking", text="hm", signature="c2ln", id="bedrock"),
        ContentPart(type="redacted_thinking", signature="b3BhcXVl", id="bedrock"),
        ContentPart(type="vendor:bedrock", text=block),
        ContentPart(type="thinking", text="of Claude elsewhere", signature="c2ln", id="anthropic"),
        ContentPart(type="thinking", text="unsigned"),
        ContentPart(type="thinking", text="theirs", signature="enc", id="rs_123"),
        ContentPart(type="vendor:anthropic", text="{}"),
    ]
    messages = [user(text("x")), Message(role="assistant", content=parts), user(text("y"))]
    sent = body(messages=messages)["messages"][1]["content"]
    own = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
        {
            "toolUse": {
                "toolUseId": "s1", "name": "nova_grounding", "input": {}, "type": "server_tool_use"
            }
        },
    ]  # fmt: skip
    elsewhere = {"reasoningText": {"text": "of Claude elsewhere", "signature": "c2ln"}}
    assert sent == [*own, {"reasoningContent": elsewhere}]
    assert body(NOVA, messages=messages)["messages"][1]["content"] == own, "Claude's means nothing to others"


def test_cache_hints() -> None:
    parts = [text("a", cache="ephemeral"), text("b", cache="ephemeral_1h"), text("c")]
    [message] = body(messages=[user(*parts)])["messages"]
    assert message["content"] == [
        {"text": "a"}, {"cachePoint": {"type": "default"}},
        {"text": "b"}, {"cachePoint": {"type": "default", "ttl": "1h"}},
        {"text": "c"},
    ]  # fmt: skip
    with pytest.raises(Invalid, match=r"content\.cache"):
        encoded(messages=[user(text("a", cache="forever"))])


def test_sampling_and_stops() -> None:
    wanted = Parameters(temperature=0.5, top_p=0.25, top_k=40, stop=["END"], service_tier="flex")
    sent = body(prompt="x", parameters=wanted)
    assert sent["inferenceConfig"] == {
        "maxTokens": 4096, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"]
    }  # fmt: skip
    assert sent["additionalModelRequestFields"] == {"top_k": 40}
    assert sent["serviceTier"] == {"type": "flex"}
    nova = body(NOVA, prompt="x", parameters=Parameters(top_k=40))
    assert nova["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 40}}


@pytest.mark.parametrize(
    ("vendor_model", "parameters", "name"),
    [
        (CLAUDE, {"seed": 1}, "seed"),
        (CLAUDE, {"frequency_penalty": 1.0}, "frequency_penalty"),
        (LLAMA, {"temperature": 1.5}, "temperature"),
        (LLAMA, {"top_k": 5}, "top_k"),
        (LLAMA, {"reasoning_budget": 2000}, "reasoning_budget"),
        (LLAMA, {"reasoning_effort": "none"}, "reasoning_effort"),
        (LLAMA, {"service_tier": "auto"}, "service_tier"),
        (CLAUDE, {"reasoning_effort": "low"}, "reasoning_effort"),
        ("anthropic.claude-opus-4-7", {"temperature": 0.5}, "temperature"),
        ("anthropic.claude-opus-4-7", {"reasoning_budget": 2000}, "reasoning_budget"),
    ],
)
def test_what_a_model_can_t_take_is_refused_or_dropped_by_its_policy(
    vendor_model: str, parameters: dict[str, Any], name: str
) -> None:
    wanted = Parameters(**parameters)
    with pytest.raises(Invalid, match=rf"^unsupported_parameter: parameters\.{name}: "):
        encoded(vendor_model, prompt="x", parameters=wanted)
    assert encoded(vendor_model, "drop", prompt="x", parameters=wanted).dropped == (f"parameters.{name}",)
    sent = body(vendor_model, "drop", prompt="x", parameters=wanted)
    assert sent["inferenceConfig"] == {"maxTokens": 4096} and set(sent) == {"messages", "inferenceConfig"}


@pytest.mark.parametrize(
    ("vendor_model", "parameters", "thinking", "effort"),
    [
        (CLAUDE, {"reasoning_budget": 2000}, {"type": "enabled", "budget_tokens": 2000}, None),
        ("anthropic.claude-opus-4-6-v1", {"reasoning_effort": "max"}, {"type": "adaptive"}, "max"),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "high"}, None, "high"),
        (NOVA, {}, None, None),
    ],
)
def test_reasoning(
    vendor_model: str, parameters: dict[str, Any], thinking: dict[str, Any] | None, effort: str | None
) -> None:
    sent = body(vendor_model, prompt="x", parameters=Parameters(**parameters))
    assert sent.get("additionalModelRequestFields", {}).get("thinking") == thinking
    assert sent.get("outputConfig", {}).get("effort") == effort


@pytest.mark.parametrize(
    ("choice", "sent"),
    [(None, None), ("auto", {"auto": {}}), ("required", {"any": {}}), ("look", {"tool": {"name": "look"}})],
)
def test_tool_choice(choice: str | None, sent: dict[str, Any] | None) -> None:
    asked = body(prompt="x", tools=[Tool(name="look")], tool_choice=choice)
    assert asked["toolConfig"].get("toolChoice") == sent


def test_no_tool_may_be_called() -> None:
    """Converse has no such choice: the tools are left out, unless the conversation has calls of them."""
    tools = [Tool(name="look")]
    assert "toolConfig" not in body(prompt="x", tools=tools, tool_choice="none")
    call = ContentPart(type="tool_call", tool_call_id="c1", tool_name="look")
    result = ContentPart(type="tool_result", tool_call_id="c1", text="found")
    fields: dict[str, Any] = {
        "messages": [user(text("x")), Message(role="assistant", content=[call]), user(result)],
        "tools": tools,
        "tool_choice": "none",
    }
    with pytest.raises(Invalid, match="tool_choice: Converse can't forbid"):
        encoded(**fields)
    assert encoded(policy="drop", **fields).dropped == ("tool_choice",)
    assert "toolChoice" not in body(policy="drop", **fields)["toolConfig"]


def test_parallel_calls_can_t_be_forbidden() -> None:
    with pytest.raises(Invalid, match="parallel_tool_calls"):
        encoded(prompt="x", tools=[Tool(name="look")], parallel_tool_calls=False)


def test_a_json_schema() -> None:
    form = ResponseFormat(type="json_schema", name="n", json_schema='{"type":"object"}')
    sent = body(prompt="x", response_format=form)["outputConfig"]
    schema = {"jsonSchema": {"schema": '{"type":"object"}', "name": "n"}}
    assert sent == {"textFormat": {"type": "json_schema", "structure": schema}}
    with pytest.raises(Invalid, match="response_format"):
        encoded(prompt="x", response_format=ResponseFormat(type="json"))


def test_the_vendor_s_own_parameters() -> None:
    more = {
        "guardrailConfig": '{"guardrailIdentifier":"abc","guardrailVersion":"1"}',
        "additionalModelRequestFields": '{"anthropic_beta":["context-1m-2025-08-07"]}',
    }
    sent = body(prompt="x", parameters=Parameters(top_k=5, extra=more))
    assert sent["guardrailConfig"]["guardrailIdentifier"] == "abc"
    assert sent["additionalModelRequestFields"] == {"top_k": 5, "anthropic_beta": ["context-1m-2025-08-07"]}
    with pytest.raises(Invalid, match=r"parameters\.extra\.inferenceConfig"):
        encoded(prompt="x", parameters=Parameters(extra={"inferenceConfig": "{}"}))


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (ContentPart(type="image", data=PNG, media_type="image/tiff"), "image/tiff"),
        (ContentPart(type="image", uri="https://x/y.png", media_type="image/png"), "s3://"),
        (ContentPart(type="document", data=b"x"), "media_type None"),
        (ContentPart(type="document"), "uri, data or text"),
        (ContentPart(type="hologram"), "hologram"),
        (ContentPart(type="tool_call", tool_name="look", arguments="[]"), "arguments of tool call 'look'"),
    ],
)
def test_what_can_t_be_expressed_is_refused_with_its_place(part: ContentPart, told: str) -> None:
    with pytest.raises(Invalid, match=told) as refused:
        encoded(prompt="x", content=[part])
    assert refused.value.reason == "invalid_request"
