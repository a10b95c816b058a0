"""What classify makes of one request: accepted and normalised, refused with reasons, or nobody's."""

from decimal import Decimal
from typing import Any

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


VALID: list[dict[str, Any]] = [
    {"reply_topic": "acme.replies"},
    {"metadata": {"a": "x" * 256, "b": ""}, "tags": ["x" * 64]},
    {"parameters": Parameters(temperature=0, top_p=1, max_tokens=1, stop=["END"], extra={"top_k": "40"})},
    {"tools": [Tool(name="look-up_1", input_schema='{"type": "object"}')], "tool_choice": "look-up_1"},
    {"tools": [Tool(name="t")], "tool_choice": "required"},
    {"response_format": ResponseFormat(type="json_schema", json_schema='{"type": "object"}')},
    {"prompt": None, "messages": user(ContentPart(type="image", uri="https://b/k"))},
    {"prompt": None, "messages": user(ContentPart(type="document", data=b"%PDF"))},
    {
        "cache": "off",
        "target_latency_ms": 100,
        "quality_floor": 0.9,
        "workflow_id": "w1",
        "workflow_step": "2",
    },
    {"prompt": "x" * 1000},
    {"deadline_at": ACCEPTED + 3_600_000},
    {"id": "\u540d" * 256},
]


@pytest.mark.parametrize("fields", VALID)
def test_what_is_allowed_has_no_problems(fields: dict[str, Any]) -> None:
    assert classified(**fields).problems == []


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


def test_tokens_are_estimated_by_what_the_texts_are_made_of() -> None:
    assert classified(prompt="some text " * 40).input_tokens_estimate == 101 + 4
    assert classified(prompt="\u00e9" * 400).input_tokens_estimate == 250 + 4
    image = ContentPart(type="image", data=bytes(900))
    assert classified(prompt="x" * 4, system="y" * 8, content=[image]).input_tokens_estimate == 5 + 8 + 1000


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
