"""Answers of Converse, decoded: event streams, whole answers, what goes wrong inside them."""

import base64
from typing import Any

import orjson
import pytest

from processors.providers.base import Completion, Delta, ProviderFailure
from processors.providers.bedrock.adapter import BedrockAdapter, BedrockDecoder
from schemas.codec import Codec
from schemas.records import ContentPart, Message, Outcome, Timings
from schemas.registry import SchemaStore
from tests.unit.providers.bedrock.shapes import HERE, body, events, frame, stream


def decoded(data: bytes) -> tuple[list[Delta], Completion]:
    decoder = BedrockDecoder()
    deltas = decoder.feed(data)
    return deltas, decoder.finish()


def event(name: str, kind: str | None = None, **fields: Any) -> bytes:
    return frame(name, orjson.dumps(fields), kind)


STOP = event("messageStop", stopReason="end_turn")


def test_a_text() -> None:
    decoder = BedrockAdapter().decoder("application/vnd.amazon.eventstream")
    deltas = decoder.feed(stream("text"))
    assert [(d.kind, d.text) for d in deltas] == [("text", "Hello"), ("text", ", größe!")]
    assert decoder.done
    answer = decoder.finish()
    assert [(p.type, p.text) for p in answer.parts] == [("text", "Hello, größe!")]
    assert (answer.finish_reason, answer.finish_reason_raw) == ("stop", "end_turn")
    usage = answer.usage
    assert usage is not None and not usage.estimated and usage.service_tier == "flex"
    assert (usage.input_uncached, usage.output, usage.cache_read, usage.cache_write_1h) == (
        30,
        12,
        None,
        None,
    )
    assert orjson.loads(usage.raw or "")["totalTokens"] == 42


def test_reasoning_and_tool_calls() -> None:
    deltas, answer = decoded(stream("reasoning_and_tools"))
    assert {d.kind for d in deltas} == {"thinking", "text", "tool_call"}
    assert Delta("tool_call", "") in deltas, "a call that begins is a sign of life"
    thinking, redacted, text, weather, clock = answer.parts
    assert (thinking.type, thinking.text) == ("thinking", "The weather in two places: two calls.")
    assert thinking.signature == "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
    assert redacted.type == "redacted_thinking" and redacted.id == thinking.id == "bedrock"
    assert redacted.signature == "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP"
    assert text.text == "Let me look."
    assert (weather.tool_name, weather.tool_call_id) == ("get_weather", "tooluse_HZ1LHqjaTBmDk1aMhqTgQA")
    assert weather.arguments == '{"location": "San Francisco, CA"}'
    assert (clock.tool_name, clock.arguments) == ("get_time", "{}"), "a call without arguments"
    assert answer.finish_reason == "tool_call"
    usage = answer.usage
    assert usage is not None
    assert (usage.input_uncached, usage.cache_read, usage.cache_write) == (472, 1800, 2048)
    assert (usage.cache_write_1h, usage.output) == (1500, 189)
    parts = usage.input_uncached, usage.cache_read, usage.cache_write, usage.output
    assert sum(count or 0 for count in parts) == orjson.loads(usage.raw or "")["totalTokens"]


def test_system_tools_are_kept_and_go_back_as_they_came() -> None:
    deltas, answer = decoded(stream("system_tool"))
    assert [p.type for p in answer.parts] == ["vendor:bedrock", "vendor:bedrock", "text", "image"]
    assert {d.kind for d in deltas if d.text} == {"text"}, "what the vendor does itself is no output to show"
    assert (answer.parts[3].media_type, answer.parts[3].data) == ("image/png", b"\x89PNG\r\n\x1a\n")
    ask = Message(role="user", content=[ContentPart(type="text", text="x")])
    said = Message(role="assistant", content=answer.parts)
    [_, sent] = body("amazon.nova-pro-v1:0", messages=[ask, said])["messages"]
    call, result, text, image = sent["content"]
    assert call["toolUse"]["input"] == {"query": "weather"} and call["toolUse"]["type"] == "server_tool_use"
    assert result["toolResult"]["content"] == [{"text": "Sunny, 21 degrees"}]
    assert text == {"text": "It is sunny."} and image["image"]["format"] == "png"


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("end_turn", "stop"), ("max_tokens", "length"), ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_call"), ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"), ("model_context_window_exceeded", "context_exceeded"),
        ("malformed_model_output", "error"), ("malformed_tool_use", "error"),
    ],
)  # fmt: skip
def test_stop_reasons(raw: str, canonical: str) -> None:
    text = event("contentBlockDelta", contentBlockIndex=0, delta={"text": "x"})
    _, answer = decoded(text + event("messageStop", stopReason=raw))
    assert (answer.finish_reason, answer.finish_reason_raw) == (canonical, raw)


def test_an_answer_that_wasn_t_streamed() -> None:
    decoder = BedrockAdapter().decoder("application/json")
    whole = (HERE / "converse.json").read_bytes()
    assert decoder.feed(whole[:100]) == [] and decoder.feed(whole[100:]) == []
    answer = decoder.finish()
    assert [p.type for p in answer.parts] == [
        "thinking", "text", "text", "tool_call", "image", "vendor:bedrock"
    ]  # fmt: skip
    assert answer.parts[2].text == "It was sunny."
    assert orjson.loads(answer.parts[3].arguments or "") == {"location": "Paris", "unit": "celsius"}
    assert orjson.loads(answer.parts[5].text or "")["toolResult"]["toolUseId"] == "tooluse_9W8vXYZ1"
    assert answer.parts[0].signature and answer.finish_reason == "tool_call"
    usage = answer.usage
    assert usage is not None and (usage.input_uncached, usage.cache_write, usage.cache_write_1h) == (
        2095,
        300,
        0,
    )
    assert usage.service_tier == "default"


@pytest.mark.parametrize(
    ("name", "error_class"),
    [
        ("throttlingException", "rate_limited"),
        ("serviceUnavailableException", "overloaded"),
        ("validationException", "invalid_request"),
        ("internalServerException", "provider_error"),
        ("modelStreamErrorException", "provider_error"),
        ("somethingNewException", "provider_error"),
    ],
)
def test_an_exception_inside_the_stream(name: str, error_class: str) -> None:
    begun = event("contentBlockDelta", contentBlockIndex=0, delta={"text": "half"})
    with pytest.raises(ProviderFailure, match="too much") as failed:
        BedrockDecoder().feed(begun + event(name, message="too much"))
    error = failed.value.error
    assert (error.error_class, error.maybe_paid) == (error_class, True) and not failed.value.repeatable


def test_what_came_before_an_exception_is_counted() -> None:
    decoder = BedrockDecoder()
    with pytest.raises(ProviderFailure, match="Too many tokens"):
        decoder.feed(stream("throttled"))
    assert decoder.output_bytes >= len("Twelve bytes")


def test_a_prompt_that_is_too_long_is_told_inside_the_stream() -> None:
    told = event("validationException", message="Input is too long for requested model.")
    with pytest.raises(ProviderFailure) as failed:
        BedrockDecoder().feed(told)
    assert failed.value.error.error_class == "context_exceeded"


def test_a_stream_without_a_stop_reason_is_a_failure() -> None:
    kept = [frame(*e) for e in events("text") if e[0] not in ("messageStop", "metadata")]
    decoder = BedrockDecoder()
    decoder.feed(b"".join(kept))
    with pytest.raises(ProviderFailure) as failed:
        decoder.finish()
    assert failed.value.error.error_class == "truncated" and failed.value.error.maybe_paid
    assert decoder.output_bytes > len("Hello, größe!")


def test_a_stream_without_its_metadata_is_whole() -> None:
    """The stop reason came; usage is then an estimate of the call."""
    metadata = frame(*events("text")[-1])
    for end in (b"", metadata[:40]):
        _, answer = decoded(stream("text").removesuffix(metadata) + end)
        assert answer.finish_reason == "stop" and answer.usage is None


def test_events_that_aren_t_known_do_no_harm() -> None:
    _, answer = decoded(event("futureEvent", x=1) + event("contentBlockDelta", delta={"new": 1}) + STOP)
    assert answer.parts == []


@pytest.mark.parametrize(
    "usage",
    [
        {"inputTokens": -1, "outputTokens": 5},
        {"inputTokens": 5, "outputTokens": 10**9 + 1},
        {"inputTokens": "many"},
        {"inputTokens": 5, "outputTokens": 5, "cacheDetails": [{"ttl": "1h", "inputTokens": -4}]},
    ],
)
def test_usage_that_can_t_be_true_counts_as_untold(usage: dict[str, Any]) -> None:
    _, answer = decoded(STOP + event("metadata", usage=usage))
    assert answer.usage is not None and answer.usage.input_uncached is None and answer.usage.output is None
    assert orjson.loads(answer.usage.raw or "") == usage, "what was told is kept"


@pytest.mark.parametrize(
    "junk",
    [
        frame("contentBlockDelta", b"{nope"),
        frame("contentBlockDelta", b"[1]"),
        frame("contentBlockDelta", b'{"delta":{"text":"\xff"}}'),
        frame("contentBlockDelta", b'{"x":' + b"[" * 100_000),
        event("contentBlockDelta", contentBlockIndex="one", delta={}),
        event("contentBlockStart", contentBlockIndex=0, start={"toolResult": []}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"image": {"source": {"bytes": "?"}}}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"redactedContent": "é"}}),
        event("messageStop", stopReason=[]),
        b"HTTP/1.1 200 OK and no event stream",
        frame("messageStop", b"{}")[:-1] + b"?",
    ],
)
def test_what_isn_t_an_event_is_a_failure(junk: bytes) -> None:
    with pytest.raises(ProviderFailure) as failed:
        decoded(junk + STOP)
    assert failed.value.error.error_class == "provider_error" and failed.value.error.maybe_paid


def test_redacted_reasoning_in_pieces_is_one() -> None:
    pieces = [base64.b64encode(piece).decode() for piece in (b"opa", b"que!")]
    data = b"".join(
        event(
            "contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"redactedContent": piece}}
        )
        for piece in pieces
    )
    _, answer = decoded(data + STOP)
    assert base64.b64decode(answer.parts[0].signature or "") == b"opaque!"


def test_no_form_of_an_answer_is_encoded_much_longer_than_it_counts() -> None:
    """The bound of a result's size is what keeps an outcome within what a topic takes."""
    for name in ("text", "reasoning_and_tools", "system_tool"):
        decoder = BedrockDecoder()
        decoder.feed(stream(name))
        for index in range(20, 1020):
            call = {"toolUseId": "i" * (index % 300), "name": "n" * (index % 5)}
            decoder.feed(event("contentBlockStart", contentBlockIndex=index, start={"toolUse": call}))
            call["type"] = "server_tool_use"
            decoder.feed(event("contentBlockStart", contentBlockIndex=index + 2000, start={"toolUse": call}))
        answer = decoder.finish()
        outcome = Outcome(
            event_id="", request_id="", tenant="", attempt=1, attempt_id="", tries=1, model="", status="",
            config_version="", timings=Timings(accepted_at=0), output=answer.parts,
        )  # fmt: skip
        assert len(Codec(SchemaStore()).encode(outcome)) <= decoder.output_bytes + 200
