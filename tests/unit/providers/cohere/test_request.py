"""Requests as Cohere wants them; every body here is what Cohere's own SDK would send."""

from typing import Any

import pytest

from processors.providers.cohere.adapter import CohereDecoder
from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool
from schemas.signals import Invalid
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.cohere.sdk import body, encoded

PNG = b"\x89PNG"
LOOK = Tool(
    name="look", description="Looks.", input_schema='{"type":"object","properties":{"a":{"type":"integer"}}}'
)
NOW = Tool(name="now", input_schema='{"type":"object"}')


def text(value: str) -> ContentPart:
    return ContentPart(type="text", text=value)


def call(id_: str) -> ContentPart:
    return ContentPart(type="tool_call", tool_call_id=id_, tool_name="look", arguments='{"a":1}')


def result(id_: str, value: str | None = "found", **fields: Any) -> ContentPart:
    return ContentPart(type="tool_result", tool_call_id=id_, text=value, **fields)


def said(role: str, *parts: ContentPart) -> Message:
    return Message(role=role, content=list(parts))


def test_a_prompt() -> None:
    request = encoded(prompt="hello", system="be brief")
    assert (request.method, request.path, request.dropped) == ("POST", "/chat", ())
    assert body(prompt="hello", system="be brief") == {
        "model": "command-a-03-2025",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "stream": True,
        "max_tokens": 4096,
    }


def test_sampling_parameters() -> None:
    wanted = Parameters(
        temperature=0.0, top_p=0.9, top_k=40, seed=7, stop=["END"], frequency_penalty=0.5, presence_penalty=0.1,
        max_tokens=9999, extra={"safety_mode": '"STRICT"'},
    )  # fmt: skip
    sent = body(prompt="x", parameters=wanted)
    known = {name: sent[name] for name in sent if name not in ("model", "messages", "stream")}
    assert known == {
        "temperature": 0.0, "p": 0.9, "k": 40, "seed": 7, "stop_sequences": ["END"], "frequency_penalty": 0.5,
        "presence_penalty": 0.1, "max_tokens": 4096, "safety_mode": "STRICT",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "thinking"),
    [
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"reasoning_budget": 0}, {"type": "disabled"}),
        ({"reasoning_budget": 512}, {"type": "enabled", "token_budget": 512}),
    ],
)
def test_reasoning(wanted: dict[str, Any], thinking: dict[str, Any]) -> None:
    assert body(prompt="x", parameters=Parameters(**wanted))["thinking"] == thinking


def test_images() -> None:
    parts = [
        ContentPart(type="image", data=PNG, media_type="image/png"),
        ContentPart(type="image", uri="https://files.example/x.jpg"),
    ]
    [message] = body(prompt="look", content=parts)["messages"]
    assert message["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "image_url", "image_url": {"url": "https://files.example/x.jpg"}},
    ]


def test_a_conversation_with_tools() -> None:
    messages = [
        said("user", text("find")),
        said("assistant", text("wait"), call("c1"), call("c2")),
        said("tool", result("c1"), result("c1", "and more")),
        said("user", result("c2", "second"), text("and?")),
    ]
    sent = body(messages=messages, tools=[LOOK])["messages"]
    assert sent[1]["content"] == "wait" and [c["id"] for c in sent[1]["tool_calls"]] == ["c1", "c2"]
    assert sent[2:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "found\nand more"},
        {"role": "tool", "tool_call_id": "c2", "content": "second"},
        {"role": "user", "content": "and?"},
    ]


def test_tools_and_choices() -> None:
    assert "tool_choice" not in body(prompt="x", tools=[LOOK, NOW], tool_choice="auto")
    assert body(prompt="x", tools=[LOOK, NOW], tool_choice="none")["tool_choice"] == "NONE"
    assert body(prompt="x", tools=[LOOK, NOW], tool_choice="required")["tool_choice"] == "REQUIRED"
    sent = body(prompt="x", tools=[LOOK, NOW], tool_choice="now")
    assert [t["function"]["name"] for t in sent["tools"]] == ["now"] and sent["tool_choice"] == "REQUIRED"
    with pytest.raises(Invalid, match="tool_choice"):
        encoded(prompt="x", tools=[LOOK], tool_choice="never")


def test_the_form_of_the_output() -> None:
    wanted = ResponseFormat(type="json_schema", name="n", json_schema='{"type":"object"}', strict=True)
    told = {"type": "json_object", "json_schema": {"type": "object"}}
    assert body(prompt="x", response_format=wanted)["response_format"] == told
    sent = body(prompt="x", response_format=ResponseFormat(type="json"))
    assert sent["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("name", ["thinking", "tools"])
def test_an_answer_goes_back_as_it_came(name: str) -> None:
    decoder = CohereDecoder()
    decoder.feed((FIXTURES / f"cohere/{name}.sse").read_bytes())
    answer = decoder.finish().parts
    sent = body(messages=[said("user", text("x")), said("assistant", *answer)])["messages"][1]
    if name == "thinking":
        assert sent["content"] == [
            {"type": "thinking", "thinking": "Alice is a sister too."}, {"type": "text", "text": "Three."}
        ]  # fmt: skip
    else:
        assert sent["tool_plan"] == "I will look up both." and "content" not in sent
        assert [c["id"] for c in sent["tool_calls"]] == [
            "get_weather_nsz5zm3w56q3",
            "get_weather_5g7wm3ya0ngs",
        ]


def test_reasoning_of_others_stays_here() -> None:
    foreign = [
        ContentPart(type="thinking", text="hm", signature="s", id="anthropic"),
        ContentPart(type="thinking", text="hm"),
        ContentPart(type="redacted_thinking", signature="s"),
        ContentPart(type="vendor:gemini", text="{}"),
        text(""),
    ]
    sent = body(messages=[said("user", text("x")), said("assistant", *foreign, text("y"))])
    assert sent["messages"][1] == {"role": "assistant", "content": "y"}


@pytest.mark.parametrize(
    ("wanted", "dropped"),
    [
        ({"prompt": "x", "parameters": Parameters(reasoning_effort="high")}, "parameters.reasoning_effort"),
        ({"prompt": "x", "parameters": Parameters(service_tier="flex")}, "parameters.service_tier"),
        ({"prompt": "x", "tools": [LOOK], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"messages": [Message(role="user", content=[text("x")], name="Ada")]}, "messages.name"),
    ],
)
def test_what_can_t_be_told_is_refused_or_dropped_by_name(wanted: dict[str, Any], dropped: str) -> None:
    with pytest.raises(Invalid, match=dropped) as refused:
        encoded(**wanted)
    assert refused.value.reason == "unsupported_parameter"
    assert encoded("drop", **wanted).dropped == (dropped,)
    body("drop", **wanted)


@pytest.mark.parametrize("name", ["model", "messages", "stream", "max_tokens"])
def test_no_parameter_overrules_content_or_cost(name: str) -> None:
    """The worst case of a call, and so the budget, rests on it."""
    with pytest.raises(Invalid, match=rf"parameters\.extra\.{name}"):
        encoded(prompt="x", parameters=Parameters(extra={name: "8"}))


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (ContentPart(type="image"), "needs uri or data"),
        (ContentPart(type="document", data=b"x", media_type="application/pdf"), "document"),
        (ContentPart(type="audio", data=b"x"), "audio"),
        (result("c1", data=PNG), "a tool_result with media"),
        (ContentPart(type="vendor:cohere", text="[]"), "vendor:cohere"),
    ],
)
def test_what_can_t_be_sent_is_told_by_name(part: ContentPart, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        encoded(messages=[said("user", part)])
