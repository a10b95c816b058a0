"""What classify makes of one request: accepted and normalised, refused with reasons, or nobody's."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from processors.classify import classify
from processors.route.emit import Source
from schemas import ids
from schemas.config import Config
from schemas.records import (
    ClassifiedRequest,
    ContentPart,
    Message,
    Parameters,
    RequestEvent,
    ResponseFormat,
    Tool,
)
from schemas.signals import Invalid

ACCEPTED = 1_700_000_000_000
SOURCE = Source("llm.requests", 3, 42, ACCEPTED)
CONFIG = Config.model_validate(
    {
        "defaults": {"lane": "standard", "deadline_s": 300},
        "limits": {
            "max_prompt_bytes": 1000,
            "max_deadline_s": 3600,
            "max_metadata_entries": 2,
            "max_tags": 2,
        },
        "providers": {"d": {"kind": "dummy"}},
        "models": {"m": {"provider": "d", "vendor_model": "x"}},
        "tenants": {"acme": {"default_lane": "batch", "reply_topics": ["acme.replies"]}, "other": {}},
        "routes": [{"models": ["m"]}],
    }
)


def request(**fields: Any) -> RequestEvent:
    return RequestEvent(**({"id": "r1", "tenant": "acme", "prompt": "hello"} | fields))


def classified(**fields: Any) -> ClassifiedRequest:
    return classify(request(**fields), SOURCE, CONFIG, "v1")


def codes(**fields: Any) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.field) for problem in classified(**fields).problems]


def user(*parts: ContentPart) -> list[Message]:
    return [Message(role="user", content=list(parts))]


def text(value: str) -> ContentPart:
    return ContentPart(type="text", text=value)


def test_the_smallest_request_is_normalised() -> None:
    result = classified()
    assert result.problems == []
    assert result.request.messages == user(text("hello"))
    assert result.request.prompt is None
    assert (result.accepted_at, result.deadline_at) == (ACCEPTED, ACCEPTED + 300_000)
    assert (result.source_topic, result.source_partition, result.source_offset) == ("llm.requests", 3, 42)
    assert (result.lane, result.config_version, result.task_type) == ("batch", "v1", "chat")


def test_a_missing_id_comes_from_where_the_request_lies() -> None:
    assert classified(id="").request.id == ids.request_id_of("llm.requests", 3, 42)


def test_the_prompts_further_parts_follow_its_text() -> None:
    image = ContentPart(type="image", uri="https://files.example/cat.png", sha256="ab" * 32)
    assert classified(content=[image]).request.messages == user(text("hello"), image)
    assert classified(prompt=None, content=[image]).request.messages == user(image)


def test_lane_and_deadline_of_the_request_win() -> None:
    result = classified(lane="interactive", deadline_at=ACCEPTED + 5)
    assert (result.lane, result.deadline_at) == ("interactive", ACCEPTED + 5)
    assert classified(tenant="other").lane == "standard"


def test_a_deadline_in_the_past_is_left_to_route() -> None:
    result = classified(deadline_at=ACCEPTED - 86_400_000)
    assert (result.problems, result.deadline_at) == ([], ACCEPTED - 86_400_000)


@pytest.mark.parametrize(
    ("tenant", "reason"),
    [("", "missing_tenant"), ("nobody", "unknown_tenant"), ("x" * 10_000, "unknown_tenant")],
)
def test_without_a_known_tenant_there_is_no_result(tenant: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        classified(tenant=tenant)
    assert caught.value.reason == reason
    assert len(caught.value.message) < 300


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


VALID: list[dict[str, Any]] = [
    {"reply_topic": "acme.replies"},
    {"metadata": {"a": "x" * 256, "b": ""}, "tags": ["x" * 64]},
    {"parameters": Parameters(temperature=0, top_p=1, max_tokens=1, stop=["END"], extra={"top_k": "40"})},
    {"tools": [Tool(name="look-up_1", input_schema='{"type": "object"}')], "tool_choice": "look-up_1"},
    {"tools": [Tool(name="t")], "tool_choice": "required"},
    {"response_format": ResponseFormat(type="json_schema", json_schema='{"type": "object"}')},
    {"prompt": None, "messages": user(ContentPart(type="document", uri="s3://b/k"))},
    {"prompt": "x" * 1000},
    {"deadline_at": ACCEPTED + 3_600_000},
    {"id": "\u540d" * 256},
]


@pytest.mark.parametrize("fields", VALID)
def test_what_is_allowed_has_no_problems(fields: dict[str, Any]) -> None:
    assert classified(**fields).problems == []


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


@pytest.mark.parametrize(
    ("fields", "task_type"),
    [
        ({"task_type": " Extraction "}, "extraction"),
        ({"tools": [Tool(name="t")]}, "tool_use"),
        ({"output_type": "label"}, "classification"),
        ({"output_type": "embedding"}, "embedding"),
        ({"output_type": "json"}, "extraction"),
        ({"response_format": ResponseFormat(type="json")}, "extraction"),
        ({"prompt": "Classify this ticket: the printer burns"}, "classification"),
        ({"system": "You extract names.", "prompt": "Ada met Charles"}, "extraction"),
        ({"prompt": "Please summarise the minutes"}, "summarization"),
        ({"prompt": "Translate into French: good day"}, "translation"),
        ({"prompt": "What is the extraction rate of copper?"}, "chat"),
        (
            {"prompt": None, "messages": [*user(text("classify this")), Message(role="assistant", content=[text("?")]),
                                          *user(text("go on"))]},
            "chat",
        ),
    ],
)  # fmt: skip
def test_the_task_type_follows_the_documented_rules(fields: dict[str, Any], task_type: str) -> None:
    assert classified(**fields).task_type == task_type


def test_tokens_are_estimated_by_bytes() -> None:
    assert classified(prompt="x" * 400).input_tokens_estimate == 100 + 4
    assert classified(prompt="\u00e9" * 400).input_tokens_estimate == 200 + 4
    image = ContentPart(type="image", data=bytes(900))
    assert classified(prompt="x" * 4, system="y" * 8, content=[image]).input_tokens_estimate == 3 + 8 + 1000


def test_the_hash_tells_a_repeat_from_a_conflict() -> None:
    same = classified().body_hash
    assert len(same) == 16
    trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    assert classified(id="r2", idempotency_key="k", traceparent=trace, tracestate="a=b").body_hash == same
    assert classified(prompt=None, messages=user(text("hello"))).body_hash == same
    assert classified(max_cost=Decimal("0.10")).body_hash == classified(max_cost=Decimal("0.1")).body_hash
    assert (
        classified(metadata={"a": "1", "b": "2"}).body_hash
        == classified(metadata={"b": "2", "a": "1"}).body_hash
    )
    for other in (
        {"prompt": "hello!"},
        {"tenant": "other"},
        {"parameters": Parameters(temperature=0)},
        {"parallel_tool_calls": False},
        {"metadata": {"a": "1"}},
    ):
        assert classified(**other).body_hash != same


def test_a_broken_trace_context_is_ignored() -> None:
    good = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    assert classified(traceparent=good, tracestate="v=1").request.tracestate == "v=1"
    result = classified(traceparent="00-xyz", tracestate="v=1")
    assert (result.problems, result.request.traceparent, result.request.tracestate) == ([], None, None)
