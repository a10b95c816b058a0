"""Which requests classify refuses, and what is left of them."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from schemas import ids
from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool
from tests.unit.classify.test_classify import ACCEPTED, classified, codes, text, user

NAN = float("nan")
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "x" * 1001}, "prompt_too_large", "prompt"),
    ({"prompt": "\u00e9" * 501}, "prompt_too_large", "prompt"),
    (
        {"prompt": None, "messages": user(ContentPart(type="image", data=bytes(1001)))},
        "prompt_too_large",
        "messages",
    ),
    ({"tools": [Tool(name="t", description="x" * 1000)]}, "prompt_too_large", "prompt"),
    ({"parameters": Parameters(extra={"top_k": '"' + "x" * 1000 + '"'})}, "prompt_too_large", "prompt"),
    ({"content": [ContentPart(type="text", text="", tool_call_id="x" * 1000)]}, "prompt_too_large", "prompt"),
    ({"content": [ContentPart(type="text", text="", tool_name="x" * 1000)]}, "prompt_too_large", "prompt"),
    ({"prompt": None}, "no_prompt", "prompt"),
    ({"prompt": ""}, "no_prompt", "prompt"),
    ({"messages": user(text("hi"))}, "prompt_and_messages", "messages"),
    ({"prompt": None, "messages": [Message(role="user")]}, "no_content", "messages[0].content"),
    ({"prompt": None, "messages": user(ContentPart(type="text"))}, "no_content", "messages[0].content[0]"),
    ({"content": [ContentPart(type="image")]}, "no_content", "content[0]"),
    ({"content": [ContentPart(type="hologram")]}, "unknown_value", "content[0].type"),
    ({"content": [ContentPart(type="image", uri="u", sha256="zz")]}, "invalid_hash", "content[0].sha256"),
    (
        {"prompt": None, "messages": [Message(role="system", content=[text("x")])]},
        "unknown_value",
        "messages[0].role",
    ),
    (
        {"prompt": None, "messages": [Message(role="boss", content=[text("x")])]},
        "unknown_value",
        "messages[0].role",
    ),
    ({"id": "x" * 257}, "too_long", "id"),
    ({"id": "a\nb"}, "control_character", "id"),
    ({"idempotency_key": "a\x00"}, "control_character", "idempotency_key"),
    ({"application": "x" * 257}, "too_long", "application"),
    ({"lane": "express"}, "unknown_value", "lane"),
    ({"cache": "maybe"}, "unknown_value", "cache"),
    ({"deadline_at": 0}, "impossible_deadline", "deadline_at"),
    ({"deadline_at": -1}, "impossible_deadline", "deadline_at"),
    ({"deadline_at": ACCEPTED // 1000 + 60}, "impossible_deadline", "deadline_at"),
    ({"deadline_at": ACCEPTED + 3_600_001}, "impossible_deadline", "deadline_at"),
    ({"deadline_at": 2**63 - 1}, "impossible_deadline", "deadline_at"),
    ({"tags": ["a", "b", "c"]}, "too_many", "tags"),
    ({"tags": ["x" * 65]}, "too_long", "tags[0]"),
    ({"metadata": {"a": "", "b": "", "c": ""}}, "metadata_too_large", "metadata"),
    ({"metadata": {"a": "x" * 257}}, "metadata_too_large", "metadata"),
    ({"metadata": {"": "x"}}, "metadata_too_large", "metadata"),
    ({"metadata": {"x" * 65: "x"}}, "metadata_too_large", "metadata"),
    ({"reply_topic": "llm.audit"}, "reply_topic_not_allowed", "reply_topic"),
    ({"prompt_template": "greeting"}, "unsupported", "prompt_template"),
    ({"prompt_template_version": "3"}, "unsupported", "prompt_template_version"),
    ({"prompt_variables": {"name": "Ada"}}, "unsupported", "prompt_variables"),
    ({"workflow_name": "onboarding"}, "unsupported", "workflow_name"),
    ({"stream_deltas": True}, "no_reply_topic", "stream_deltas"),
    ({"content": [ContentPart(type="redacted_thinking", text="x")]}, "no_content", "content[0]"),
    ({"content": [ContentPart(type="vendor:", text="{}")]}, "unknown_value", "content[0].type"),
    ({"content": [ContentPart(type="vendor:search", text="{")]}, "invalid_json", "content[0].text"),
    ({"parameters": Parameters(top_k=0)}, "out_of_range", "parameters.top_k"),
    ({"parameters": Parameters(reasoning_budget=-1)}, "out_of_range", "parameters.reasoning_budget"),
    ({"parameters": Parameters(extra={"generationConfig": "{}"})}, "invalid_parameter", "parameters.extra"),
    ({"target_latency_ms": 0}, "out_of_range", "target_latency_ms"),
    ({"quality_floor": 1.01}, "out_of_range", "quality_floor"),
    ({"quality_floor": NAN}, "out_of_range", "quality_floor"),
    ({"max_cost": Decimal("-0.01")}, "out_of_range", "max_cost"),
    ({"max_cost": Decimal("NaN")}, "out_of_range", "max_cost"),
    ({"parameters": Parameters(temperature=2.1)}, "out_of_range", "parameters.temperature"),
    ({"parameters": Parameters(temperature=NAN)}, "out_of_range", "parameters.temperature"),
    ({"parameters": Parameters(top_p=-0.1)}, "out_of_range", "parameters.top_p"),
    ({"parameters": Parameters(max_tokens=0)}, "out_of_range", "parameters.max_tokens"),
    (
        {"parameters": Parameters(presence_penalty=float("inf"))},
        "out_of_range",
        "parameters.presence_penalty",
    ),
    ({"parameters": Parameters(stop=[""])}, "invalid_parameter", "parameters.stop"),
    ({"parameters": Parameters(stop=["x"] * 17)}, "too_many", "parameters.stop"),
    ({"parameters": Parameters(extra={"top_k": "{"})}, "invalid_json", "parameters.extra.top_k"),
    ({"parameters": Parameters(extra={"max_tokens": "99999"})}, "invalid_parameter", "parameters.extra"),
    ({"parameters": Parameters(extra={"n": "50"})}, "invalid_parameter", "parameters.extra"),
    ({"parameters": Parameters(extra={"functions": "[]"})}, "invalid_parameter", "parameters.extra"),
    ({"parameters": Parameters(extra={"function_call": '"auto"'})}, "invalid_parameter", "parameters.extra"),
    ({"response_format": ResponseFormat(type="xml")}, "unknown_value", "response_format.type"),
    (
        {"response_format": ResponseFormat(type="json_schema")},
        "invalid_schema",
        "response_format.json_schema",
    ),
    (
        {"response_format": ResponseFormat(type="json_schema", json_schema="{")},
        "invalid_json",
        "response_format.json_schema",
    ),
    (
        {"response_format": ResponseFormat(type="json_schema", json_schema='{"type": "shape"}')},
        "invalid_schema",
        "response_format.json_schema",
    ),
    (
        {"response_format": ResponseFormat(type="json_schema", json_schema="[]")},
        "invalid_schema",
        "response_format.json_schema",
    ),
    ({"tools": [Tool(name="look up")]}, "invalid_tool", "tools[0].name"),
    ({"tools": [Tool(name="t"), Tool(name="t")]}, "invalid_tool", "tools[1].name"),
    ({"tools": [Tool(name="t", input_schema="nope")]}, "invalid_json", "tools[0].input_schema"),
    ({"tools": [Tool(name="t", input_schema='{"required": 3}')]}, "invalid_schema", "tools[0].input_schema"),
    ({"tool_choice": "required"}, "invalid_tool", "tool_choice"),
    ({"tools": [Tool(name="t")], "tool_choice": "u"}, "invalid_tool", "tool_choice"),
]


@pytest.mark.parametrize(("fields", "code", "field"), REFUSED)
def test_a_bad_request_is_refused_with_a_reason(fields: dict[str, Any], code: str, field: str) -> None:
    found = classified(**fields).problems
    assert [(p.code, p.field) for p in found] == [(code, field)]
    assert 10 < len(found[0].message) < 400


def test_every_problem_is_told_at_once() -> None:
    assert codes(prompt=None, lane="express", deadline_at=1, tags=["a"] * 3) == [
        ("unknown_value", "lane"),
        ("too_many", "tags"),
        ("impossible_deadline", "deadline_at"),
        ("no_prompt", "prompt"),
    ]


def test_a_draft_that_is_not_known_is_not_fetched() -> None:
    """A validator would ask the network for it."""
    schema = '{"$schema": "http://127.0.0.1:9/draft"}'
    found = classified(response_format=ResponseFormat(type="json_schema", json_schema=schema)).problems
    assert [p.code for p in found] == ["invalid_schema"]
    assert "$schema" in found[0].message


def test_a_refused_request_carries_neither_its_content_nor_unfit_values() -> None:
    result = classified(
        prompt="x" * 5000,
        id="bad\nid",
        metadata={"k": "x" * 9000},
        reply_topic="other.topic",
        application="shop",
        tags=["kept"],
    )
    assert len(msgspec.json.encode(result)) < 4000
    assert result.request.id == ids.request_id_of("llm.requests", 3, 42)
    assert (result.request.reply_topic, result.request.metadata) == (None, {})
    assert (result.request.application, result.request.tags) == ("shop", ["kept"])
    assert result.features["content_bytes"] == 5000
