"""Requests as Mistral wants them; every body here has passed the vendor's own types."""

import re
from typing import Any

import orjson
import pytest

from processors.providers.mistral.adapter import MistralDecoder
from processors.providers.mistral.request import call_id
from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool
from schemas.signals import Invalid
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.mistral.sdk import body, encoded

PNG = b"\x89PNG"
LOOK = Tool(
    name="look", description="Looks.", input_schema='{"type":"object","properties":{"a":{"type":"integer"}}}'
)


def text(value: str) -> ContentPart:
    return ContentPart(type="text", text=value)


def call(id_: str, name: str = "look") -> ContentPart:
    return ContentPart(type="tool_call", tool_call_id=id_, tool_name=name, arguments='{"a":1}')


def result(id_: str, value: str | None = "found", **fields: Any) -> ContentPart:
    return ContentPart(type="tool_result", tool_call_id=id_, text=value, **fields)


def said(role: str, *parts: ContentPart) -> Message:
    return Message(role=role, content=list(parts))


def test_a_prompt() -> None:
    request = encoded(prompt="hello", system="be brief")
    assert (request.method, request.path, request.dropped) == ("POST", "/chat/completions", ())
    assert body(prompt="hello", system="be brief") == {
        "model": "mistral-large-latest",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "stream": True,
        "max_tokens": 4096,
    }


def test_sampling_parameters() -> None:
    wanted = Parameters(
        temperature=0.0, top_p=0.9, top_k=40, seed=7, stop=["END"], frequency_penalty=0.5, presence_penalty=-0.5,
        service_tier="standard_only", reasoning_effort="high", max_tokens=9999, extra={"safe_prompt": "true"},
    )  # fmt: skip
    sent = body(prompt="x", parameters=wanted)
    known = {name: sent[name] for name in sent if name not in ("model", "messages", "stream")}
    assert known == {
        "temperature": 0.0, "top_p": 0.9, "top_k": 40, "random_seed": 7, "stop": ["END"], "frequency_penalty": 0.5,
        "presence_penalty": -0.5, "service_tier": "standard_only", "reasoning_effort": "high", "max_tokens": 4096,
        "safe_prompt": True,
    }  # fmt: skip


def test_content_of_every_kind() -> None:
    parts = [
        ContentPart(type="image", data=PNG, media_type="image/png"),
        ContentPart(type="image", uri="https://files.example/x.jpg"),
        ContentPart(type="document", uri="https://files.example/x.pdf"),
        ContentPart(type="document", data=b"%PDF", media_type="application/pdf"),
        ContentPart(type="audio", data=b"\x01", media_type="audio/wav"),
        ContentPart(type="audio", uri="https://files.example/x.mp3"),
    ]
    [message] = body(prompt="look", content=parts)["messages"]
    assert message["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "image_url", "image_url": {"url": "https://files.example/x.jpg"}},
        {"type": "document_url", "document_url": "https://files.example/x.pdf"},
        {"type": "document_url", "document_url": "data:application/pdf;base64,JVBERg=="},
        {"type": "input_audio", "input_audio": "AQ=="},
        {"type": "input_audio", "input_audio": "https://files.example/x.mp3"},
    ]


def test_a_conversation_with_tools() -> None:
    messages = [
        said("user", text("find")),
        said("assistant", text("wait"), call("VvvODy9mT"), call("toolu_01VpEm654HvfMoRcrE3Hgdc6")),
        said("tool", result("VvvODy9mT", tool_name="look")),
        said("tool", result("toolu_01VpEm654HvfMoRcrE3Hgdc6"),
             result("toolu_01VpEm654HvfMoRcrE3Hgdc6", None, data=PNG, media_type="image/png")),
        said("user", text("and?")),
    ]  # fmt: skip
    sent = body(messages=messages, tools=[LOOK])["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    ids = [one["id"] for one in sent[1]["tool_calls"]]
    assert ids == [message["tool_call_id"] for message in sent[2:4]] and ids[0] == "VvvODy9mT"
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", id_) for id_ in ids), "Mistral refuses every other id"
    assert sent[2] == {"role": "tool", "tool_call_id": ids[0], "name": "look", "content": "found"}
    assert [chunk["type"] for chunk in sent[3]["content"]] == ["text", "image_url"]


def test_ids_of_other_vendors_stay_apart() -> None:
    ids = {call_id(f"call_{n}") for n in range(1000)}
    assert len(ids) == 1000 and call_id("call_1") in ids


def test_a_cache_hint_becomes_the_key_of_the_prefix() -> None:
    def key(last: str, hint: str | None = "ephemeral") -> Any:
        shared = ContentPart(type="text", text="a long document", cache=hint)
        return body(system="s", messages=[said("user", shared, text(last))]).get("prompt_cache_key")

    assert key("first question") == key("second question") is not None
    assert key("first question", None) is None


def test_tools_and_choices() -> None:
    sent = body(prompt="x", tools=[LOOK], tool_choice="look", parallel_tool_calls=False)
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert sent["parallel_tool_calls"] is False
    for ours, theirs in {"auto": "auto", "none": "none", "required": "any"}.items():
        assert body(prompt="x", tools=[LOOK], tool_choice=ours)["tool_choice"] == theirs


def test_the_form_of_the_output() -> None:
    wanted = ResponseFormat(type="json_schema", name="n", json_schema='{"type":"object"}', strict=True)
    assert body(prompt="x", response_format=wanted)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }
    sent = body(prompt="x", response_format=ResponseFormat(type="json"))
    assert sent["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("name", ["thinking", "tools", "reference"])
def test_an_answer_goes_back_as_it_came(name: str) -> None:
    stream = (FIXTURES / f"mistral/{name}.sse").read_bytes()
    decoder = MistralDecoder()
    decoder.feed(stream)
    answer = decoder.finish().parts
    sent = body(messages=[said("user", text("x")), said("assistant", *answer)])["messages"][1]
    if name == "thinking":
        assert sent["content"] == [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Let me compare the two."}]},
            {"type": "text", "text": "9.9 is larger."},
        ]
    elif name == "tools":
        assert [c["id"] for c in sent["tool_calls"]] == ["D681PevKs", "fCkN8aXq2"]
        assert orjson.loads(sent["tool_calls"][0]["function"]["arguments"]) == {"transaction_id": "T1001"}
    else:
        assert sent["content"][1] == {"type": "reference", "reference_ids": [0, 2]}


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
    own = ContentPart(type="thinking", text="hm", signature="s", id="mistral")
    sent = body(messages=[said("user", text("x")), said("assistant", own, text("y"))])
    assert sent["messages"][1]["content"][0] == {
        "type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": "s"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "dropped"),
    [
        ({"prompt": "x", "parameters": Parameters(reasoning_budget=512)}, "parameters.reasoning_budget"),
        ({"messages": [Message(role="user", content=[text("x")], name="Ada")]}, "messages.name"),
    ],
)
def test_what_can_t_be_told_is_refused_or_dropped_by_name(wanted: dict[str, Any], dropped: str) -> None:
    with pytest.raises(Invalid, match=dropped) as refused:
        encoded(**wanted)
    assert refused.value.reason == "unsupported_parameter"
    assert encoded("drop", **wanted).dropped == (dropped,)
    body("drop", **wanted)


@pytest.mark.parametrize("name", ["model", "messages", "stream", "max_tokens", "n"])
def test_no_parameter_overrules_content_or_cost(name: str) -> None:
    """The worst case of a call, and so the budget, rests on it."""
    with pytest.raises(Invalid, match=rf"parameters\.extra\.{name}"):
        encoded(prompt="x", parameters=Parameters(extra={name: "8"}))


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (ContentPart(type="image"), "needs uri or data"),
        (ContentPart(type="hologram"), "hologram"),
        (ContentPart(type="vendor:mistral", text="[]"), "vendor:mistral"),
    ],
)
def test_what_can_t_be_sent_is_told_by_name(part: ContentPart, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        encoded(messages=[said("user", part)])
