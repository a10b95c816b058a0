"""Servers that speak like OpenAI: what each does its own way."""

from typing import Any

import orjson
import pytest

from processors.providers.base import ProviderFailure
from processors.providers.openai.adapter import OpenAiAdapter
from processors.providers.openai.presets import DIALECTS, OPENAI, dialect_of, features_of
from schemas.config import Model, Provider
from schemas.records import ContentPart, Message, Parameters, ResponseFormat
from schemas.signals import Invalid
from tests.unit.providers.openai.requests import CALL, RESULT, SCHEMA
from tests.unit.providers.openai.sdk import fixture
from tests.unit.providers.openai.tasks import DROPPING, MODEL, body_of, task, text


def adapter(preset: str) -> OpenAiAdapter:
    return OpenAiAdapter(
        Provider.model_validate({"kind": "openai", "preset": preset, "base_url": "http://x.example/v1"})
    )


def answer(name: str) -> Any:
    decoder = adapter(name.split("/")[0]).decoder("application/json" if name.endswith(".json") else "")
    decoder.feed(fixture(name))
    return decoder.finish()


def failed(name: str) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as seen:
        answer(name)
    return seen.value


def refused(name: str, status: int) -> tuple[str, bool, bool]:
    found = adapter(name.split("/")[0]).failure(status, None, fixture(name))
    assert found.error.message.startswith(f"HTTP {status}: ")
    return found.error.error_class, found.error.retriable, found.repeatable


def test_every_preset_of_the_configuration_has_a_dialect() -> None:
    annotation = Provider.model_fields["preset"].annotation
    names = {name for part in annotation.__args__ for name in getattr(part, "__args__", ())}  # type: ignore[union-attr]
    assert names == set(DIALECTS)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"api_key": "env:K"}, "openai"),
        ({"base_url": "https://eu.api.openai.com/v1"}, "openai"),
        ({"base_url": "http://localhost:8000/v1"}, "compatible"),
        ({"base_url": "https://api.openai.com.example/v1"}, "compatible"),
        ({"preset": "groq", "api_key": "env:K"}, "groq"),
    ],
)
def test_a_provider_s_dialect(fields: dict[str, Any], name: str) -> None:
    assert dialect_of(Provider.model_validate({"kind": "openai", **fields})).name == name


def test_a_server_of_which_nothing_is_known_gets_the_standard_form() -> None:
    body = body_of(OpenAiAdapter(), prompt="x")
    assert body["max_tokens"] == 77 and "max_completion_tokens" not in body


PARAMETERS = Parameters(
    top_k=40, seed=1, service_tier="flex", reasoning_effort="low", reasoning_budget=512, frequency_penalty=0.1
)
SENT = {
    "vllm": {"top_k", "seed", "reasoning_effort", "thinking_token_budget", "frequency_penalty"},
    "llama-cpp": {"top_k", "seed", "chat_template_kwargs", "thinking_budget_tokens", "frequency_penalty"},
    "ollama": {"seed", "reasoning_effort", "frequency_penalty"},
    "groq": {"seed", "reasoning_effort", "service_tier"},
    "deepseek": {"reasoning_effort", "frequency_penalty"},
    "together": {"top_k", "seed", "reasoning_effort", "frequency_penalty"},
    "xai": {"seed", "reasoning_effort", "service_tier", "frequency_penalty"},
    "openrouter": {"top_k", "seed", "service_tier", "reasoning", "frequency_penalty"},
}
ALWAYS = {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"}


@pytest.mark.parametrize("preset", DIALECTS)
def test_what_a_server_doesn_t_take_is_dropped_and_told(preset: str) -> None:
    request = adapter(preset).encode(task(prompt="x", parameters=PARAMETERS), DROPPING)
    assert set(orjson.loads(request.body)) - ALWAYS == SENT[preset]
    missing = {f"parameters.{name}" for name in DIALECTS[preset].unsupported} - {
        "parameters.presence_penalty"
    }
    told = set(request.dropped) - {"parameters.reasoning_effort"}
    assert told == missing - {"parameters.parallel_tool_calls"}


@pytest.mark.parametrize("preset", [name for name in DIALECTS if name != "openrouter"])
def test_or_refused_where_the_model_says_so(preset: str) -> None:
    with pytest.raises(Invalid, match=r"parameters\.\w+: ") as told:
        adapter(preset).encode(task(prompt="x", parameters=PARAMETERS), MODEL)
    assert told.value.reason == "unsupported_parameter"


def test_names_of_speakers() -> None:
    messages = [Message(role="user", name="ann", content=[text("x")])]
    request = adapter("groq").encode(task(messages=messages), DROPPING)
    assert request.dropped == ("messages.name",)
    assert "name" not in orjson.loads(request.body)["messages"][0]
    assert body_of(adapter("vllm"), messages=messages)["messages"][0]["name"] == "ann"


def test_a_schema_falls_back_to_json_mode() -> None:
    wanted = ResponseFormat(type="json_schema", json_schema=SCHEMA)
    request = adapter("deepseek").encode(task(prompt="x", response_format=wanted), DROPPING)
    assert orjson.loads(request.body)["response_format"] == {"type": "json_object"}
    assert request.dropped == ("response_format.json_schema",)


def test_content_that_a_server_can_t_take_is_refused_never_dropped() -> None:
    image = ContentPart(type="image", data=b"x", media_type="image/png")
    with pytest.raises(Invalid, match="deepseek takes no part of type 'image'"):
        adapter("deepseek").encode(task(content=[image]), DROPPING)


@pytest.mark.parametrize(
    ("preset", "calls", "field"),
    [
        ("vllm", False, "reasoning"),
        ("groq", True, "reasoning"),
        ("llama-cpp", True, "reasoning_content"),
        ("deepseek", True, "reasoning_content"),
        ("deepseek", False, None),
        ("xai", True, None),
    ],
)
def test_reasoning_goes_back_where_the_server_wants_it(preset: str, calls: bool, field: str | None) -> None:
    content = [ContentPart(type="thinking", text="hm"), text("ok")] + ([CALL] if calls else [])
    body = body_of(adapter(preset), messages=[Message(role="assistant", content=content)])
    sent = {k: v for k, v in body["messages"][0].items() if k.startswith("reasoning")}
    assert sent == ({} if field is None else {field: "hm"})


def test_openrouter_gets_its_reasoning_back_unchanged() -> None:
    told = answer("openrouter/chat.sse")
    assert [(p.type, p.text) for p in told.parts if p.type != "vendor:openrouter"] == [
        ("thinking", "Let me see."),
        ("text", "Sunny."),
    ]
    body = body_of(adapter("openrouter"), messages=[Message(role="assistant", content=told.parts)])
    expected = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, "text": "Let me see."}
    assert body["messages"][0]["reasoning_details"] == [{**expected, "signature": "ErUBCkYIBRgC"}]
    assert body["messages"][0]["content"] == "Sunny."


def test_openrouter_s_encrypted_reasoning_is_never_joined() -> None:
    decoder = adapter("openrouter").decoder("")
    detail = {"type": "reasoning.encrypted", "data": "x", "index": 0}
    for data in ("x", "y"):
        chunk = {"choices": [{"delta": {"reasoning_details": [{**detail, "data": data}]}}]}
        decoder.feed(b"data: " + orjson.dumps(chunk) + b"\n\n")
    decoder.feed(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
    [part] = decoder.finish().parts
    assert [d["data"] for d in orjson.loads(part.text or "")] == ["x", "y"]


def test_openrouter_s_reasoning_and_cache_hints() -> None:
    effort = body_of(adapter("openrouter"), prompt="x", parameters=Parameters(reasoning_effort="high"))
    assert effort["reasoning"] == {"effort": "high"}
    budget = body_of(adapter("openrouter"), prompt="x", parameters=Parameters(reasoning_budget=99))
    assert budget["reasoning"] == {"max_tokens": 99}
    hinted = body_of(adapter("openrouter"), content=[text("long", cache="ephemeral")])
    assert hinted["messages"][0]["content"] == [
        {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
    ]


def usage_of(name: str) -> tuple[int | None, ...]:
    told = answer(name).usage
    return told.input_uncached, told.cache_read, told.cache_write, told.output, told.reasoning


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("groq/chat.sse", (80, None, None, 40, 25)),
        ("deepseek/chat.sse", (36, 64, None, 60, 45)),
        ("openrouter/chat.sse", (44, 100, 50, 80, 30)),
        ("xai/chat.sse", (26, 6, None, 103, 94)),
        ("together/chat.sse", (4, 32, None, 2, None)),
        ("vllm/chat.sse", (12, 0, None, 8, None)),
        ("ollama/chat.sse", (26, None, None, 12, None)),
        ("llama-cpp/chat.sse", (1, 30, None, 4, None)),
    ],
)
def test_usage_wherever_a_server_puts_it(name: str, usage: tuple[int | None, ...]) -> None:
    assert usage_of(name) == usage


@pytest.mark.parametrize(
    ("name", "finish"),
    [
        ("groq/chat.sse", ("stop", "stop")),
        ("vllm/chat.sse", ("stop_sequence", "stop")),
        ("together/chat.sse", ("stop", "eos")),
        ("ollama/chat.sse", ("tool_call", "tool_calls")),
        ("llama-cpp/chat.sse", ("length", "length")),
    ],
)
def test_finish_reasons(name: str, finish: tuple[str, str]) -> None:
    told = answer(name)
    assert (told.finish_reason, told.finish_reason_raw) == finish


@pytest.mark.parametrize(
    ("name", "error_class", "message"),
    [
        ("groq/stopped_early.sse", "provider_error", "over_capacity"),
        ("openrouter/error_in_stream.sse", "provider_error", "Provider disconnected"),
        ("openrouter/rate_limited_in_stream.sse", "rate_limited", "Rate limit exceeded"),
        ("openrouter/error_in_200.json", "overloaded", "Overloaded"),
        ("deepseek/interrupted.sse", "overloaded", "insufficient_system_resource"),
    ],
)
def test_errors_inside_a_200_are_failures(name: str, error_class: str, message: str) -> None:
    problem = failed(name)
    assert problem.error.error_class == error_class and message in problem.error.message
    assert problem.error.maybe_paid and not problem.repeatable


def test_what_an_answer_that_was_broken_off_had_used_is_told() -> None:
    usage = failed("deepseek/interrupted.sse").usage
    assert usage is not None and (usage.input_uncached, usage.output) == (36, 60)


@pytest.mark.parametrize(
    ("name", "status", "meaning"),
    [
        ("groq/error_400_tool_use.json", 400, ("provider_error", True, False)),
        ("groq/error_413.json", 413, ("context_exceeded", False, False)),
        ("groq/error_498.json", 498, ("overloaded", True, True)),
        ("deepseek/error_402.json", 402, ("spend_limit", False, False)),
        ("deepseek/error_400_reasoning.json", 400, ("invalid_request", False, False)),
        ("openrouter/error_402.json", 402, ("spend_limit", False, False)),
        ("openrouter/error_403_moderation.json", 403, ("content_filter", False, False)),
        ("vllm/error_400_context.json", 400, ("context_exceeded", False, False)),
        ("vllm/error_404.json", 404, ("no_such_model", True, False)),
        ("vllm/error_422.json", 422, ("invalid_request", False, False)),
        ("llama-cpp/error_400_context.json", 400, ("context_exceeded", False, False)),
        ("ollama/error_404.json", 404, ("no_such_model", True, False)),
        ("xai/error_403.json", 403, ("forbidden", True, False)),
    ],
)
def test_errors_of_servers(name: str, status: int, meaning: tuple[str, bool, bool]) -> None:
    assert refused(name, status) == meaning


def test_an_error_says_what_is_wrong_in_every_form() -> None:
    assert (
        "Field required" in adapter("vllm").failure(422, None, fixture("vllm/error_422.json")).error.message
    )
    assert "have access" in adapter("xai").failure(403, None, fixture("xai/error_403.json")).error.message
    assert "not json" in adapter("vllm").failure(500, None, b"not json").error.message


def test_features_tell_what_encoding_does() -> None:
    """The pages are made from them: `drop` where a parameter is dropped, `yes` where it is sent."""
    for name, dialect in {**DIALECTS, "openai": OPENAI}.items():
        features = features_of(dialect)
        assert (features["top_k"].support == "drop") == ("top_k" in dialect.unsupported), name
        assert features["streaming"].support == "yes"
    assert features_of(DIALECTS["deepseek"])["json_schema"].support == "drop"


def test_a_tool_turn_keeps_its_order_for_every_server() -> None:
    talk = [Message(role="assistant", content=[CALL]), Message(role="tool", content=[RESULT])]
    for preset in DIALECTS:
        sent = body_of(adapter(preset), messages=talk)["messages"]
        assert [m["role"] for m in sent] == ["assistant", "tool"]
        assert sent[1] == {"role": "tool", "tool_call_id": "c1", "content": "found"}


def test_developer_messages_are_the_system_s_where_only_openai_knows_them() -> None:
    messages = [Message(role="developer", content=[text("x")])]
    assert body_of(adapter("groq"), messages=messages)["messages"][0]["role"] == "system"


def test_a_model_is_asked_for_by_its_vendor_s_name() -> None:
    model = Model.model_validate({"provider": "p", "vendor_model": "meta-llama/Llama-3"})
    assert body_of(adapter("together"), model, prompt="x")["model"] == "meta-llama/Llama-3"
