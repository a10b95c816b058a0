"""Answers of Anthropic, decoded: streams, whole messages, what goes wrong inside them."""

import json
from typing import Any

import orjson
import pytest

from processors.providers.anthropic.adapter import AnthropicAdapter, AnthropicDecoder
from processors.providers.base import Completion, Delta, ProviderFailure
from schemas.codec import Codec
from schemas.records import ContentPart, Message, Outcome, Timings
from schemas.registry import SchemaStore
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.anthropic.sdk import body

HERE = FIXTURES / "anthropic"


def stream(name: str) -> bytes:
    return (HERE / f"{name}.sse").read_bytes()


def decoded(data: bytes) -> tuple[list[Delta], Completion]:
    decoder = AnthropicDecoder()
    deltas = decoder.feed(data)
    return deltas, decoder.finish()


def event(**fields: Any) -> bytes:
    return b"event: x\ndata: " + orjson.dumps(fields) + b"\n\n"


def test_a_text() -> None:
    decoder = AnthropicDecoder()
    deltas = decoder.feed(stream("text"))
    assert [(d.kind, d.text) for d in deltas] == [("text", "Hello"), ("text", ", größe!")]
    assert decoder.done
    answer = decoder.finish()
    assert [(p.type, p.text) for p in answer.parts] == [("text", "Hello, größe!")]
    assert (answer.finish_reason, answer.finish_reason_raw) == ("stop", "end_turn")
    assert answer.vendor_response_id == "msg_01XFDUDYJgAACzvnptvVoYEL"
    assert answer.vendor_model == "claude-opus-4-5-20251101"
    usage = answer.usage
    assert usage is not None and not usage.estimated
    assert (usage.input_uncached, usage.cache_read, usage.cache_write, usage.output) == (25, 0, 0, 15)
    told = orjson.loads(usage.raw or "")
    assert (told["output_tokens"], told["service_tier"]) == (15, "standard"), "both ends are kept"


def test_thinking_and_tool_calls() -> None:
    deltas, answer = decoded(stream("thinking_and_tools"))
    assert {d.kind for d in deltas} == {"thinking", "text", "tool_call"}
    thinking, redacted, text, weather, clock = answer.parts
    assert (thinking.type, thinking.text) == ("thinking", "The weather in two places: two calls.")
    assert thinking.signature == "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
    assert (redacted.type, redacted.text) == ("redacted_thinking", None)
    assert (redacted.signature or "").startswith("EmwKAhgB") and redacted.id == thinking.id == "anthropic"
    assert text.text == "Let me look."
    assert (weather.type, weather.tool_name) == ("tool_call", "get_weather")
    assert weather.tool_call_id == "toolu_01T1x1fJ34qAmk2tNTrN7Up6"
    assert weather.arguments == '{"location": "San Francisco, CA"}'
    assert (clock.tool_name, clock.arguments) == ("get_time", "{}"), "a call without arguments"
    assert answer.finish_reason == "tool_call"
    usage = answer.usage
    assert usage is not None
    assert (usage.input_uncached, usage.cache_read, usage.cache_write) == (472, 1800, 2048)
    assert (usage.cache_write_1h, usage.output, usage.reasoning) == (1500, 189, 77)


def test_what_was_said_goes_back_as_it_came() -> None:
    """The parts of an answer, sent again, are the blocks that the vendor sent."""
    for name in ("thinking_and_tools", "web_search"):
        _, answer = decoded(stream(name))
        ask = Message(role="user", content=[ContentPart(type="text", text="x")])
        said = Message(role="assistant", content=answer.parts)
        [_, sent] = body(messages=[ask, said])["messages"]
        assert len(sent["content"]) == len(answer.parts)
    search, found, text = sent["content"]
    assert search == {
        "type": "server_tool_use", "id": "srvtoolu_014hJH82Qum7Td6UV8gDXThB", "name": "web_search",
        "input": {"query": "weather NYC today"},
    }  # fmt: skip
    assert found["content"][0]["encrypted_content"] == "Ev0DCioIAxgCIiQ3NmU4ZmI4OC1k"
    assert text == {"type": "text", "text": "It is sunny in New York."}


@pytest.mark.parametrize("name", ["thinking_and_tools", "web_search"])
def test_a_model_at_work_counts_as_a_first_token_though_it_says_nothing(name: str) -> None:
    """Thinking may be hidden and a search takes its time: neither must look like a model that doesn't answer."""
    data = stream(name)
    decoder = AnthropicDecoder()
    assert decoder.feed(data[: data.index(b"event: content_block_start")]) == []
    [delta] = decoder.feed(
        data[data.index(b"event: content_block_start") : data.index(b"event: content_block_delta")]
    )
    assert (delta.kind, delta.text) == ("thinking", "")


def test_server_tools_are_kept_and_their_input_counts() -> None:
    deltas, answer = decoded(stream("web_search"))
    assert [p.type for p in answer.parts] == ["vendor:anthropic", "vendor:anthropic", "text"]
    assert {d.kind for d in deltas if d.text} == {"text"}, "what the vendor does itself is no output to show"
    assert answer.finish_reason == "pause"
    assert answer.usage is not None and answer.usage.input_uncached == 10682, "the later count is the total"
    assert orjson.loads(answer.usage.raw or "")["server_tool_use"]["web_search_requests"] == 1


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("end_turn", "stop"), ("max_tokens", "length"), ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_call"), ("pause_turn", "pause"), ("refusal", "refusal"),
        ("model_context_window_exceeded", "context_exceeded"), ("compaction", "pause"),
    ],
)  # fmt: skip
def test_stop_reasons(raw: str, canonical: str) -> None:
    _, answer = decoded(stream("text").replace(b"end_turn", raw.encode()))
    assert (answer.finish_reason, answer.finish_reason_raw) == (canonical, raw)


def test_a_message_that_wasn_t_streamed() -> None:
    decoder = AnthropicAdapter().decoder("application/json; charset=utf-8")
    whole = (HERE / "message.json").read_bytes()
    assert decoder.feed(whole[:100]) == [] and decoder.feed(whole[100:]) == []
    answer = decoder.finish()
    assert [p.type for p in answer.parts] == ["thinking", "text", "tool_call"]
    assert orjson.loads(answer.parts[2].arguments or "") == {"location": "Paris", "unit": "celsius"}
    assert answer.parts[0].signature and answer.finish_reason == "tool_call"
    assert answer.usage is not None and not answer.usage.estimated
    assert (answer.usage.input_uncached, answer.usage.cache_write_1h, answer.usage.reasoning) == (2095, 0, 21)
    assert 100 < decoder.output_bytes < 400, "what the parts take, not what the JSON took"


def test_an_error_inside_a_200() -> None:
    decoder = AnthropicDecoder()
    with pytest.raises(ProviderFailure, match="Overloaded") as failed:
        decoder.feed(stream("overloaded"))
    error = failed.value.error
    assert (error.error_class, error.retriable, error.maybe_paid) == ("overloaded", True, True)
    assert not failed.value.repeatable
    with pytest.raises(ProviderFailure, match="invalid x-api-key") as failed:
        decoded_whole((HERE / "error_authentication.json").read_bytes())
    assert failed.value.error.error_class == "auth"


def decoded_whole(data: bytes) -> Completion:
    decoder = AnthropicDecoder(whole=True)
    decoder.feed(data)
    return decoder.finish()


@pytest.mark.parametrize("cut", ["event: message_delta", "event: content_block_stop"])
def test_a_stream_without_a_stop_reason_is_a_failure_with_its_usage(cut: str) -> None:
    data = stream("text")
    decoder = AnthropicDecoder()
    decoder.feed(data[: data.index(cut.encode())])
    with pytest.raises(ProviderFailure) as failed:
        decoder.finish()
    assert failed.value.error.error_class == "truncated" and failed.value.error.maybe_paid
    usage = decoder.usage
    assert usage is not None and usage.estimated, "the input is told, the output is what came"
    assert usage.input_uncached == 25 and usage.output == -(-decoder.output_bytes // 4) > 1


def test_a_count_that_is_null_at_the_end_keeps_its_beginning() -> None:
    data = stream("text").replace(
        b'"usage":{"output_tokens":15}', b'"usage":{"input_tokens":null,"output_tokens":15}'
    )
    _, answer = decoded(data)
    assert answer.usage is not None and (answer.usage.input_uncached, answer.usage.output) == (25, 15)


def test_blocks_keep_their_numbers_order() -> None:
    block = {"type": "text", "text": "second"}
    early = event(type="content_block_start", index=1, content_block=block)
    data = stream("text").replace(b"event: content_block_start", early + b"event: content_block_start", 1)
    _, answer = decoded(data)
    assert [part.text for part in answer.parts] == ["Hello, größe!", "second"]


def test_a_stream_without_its_end_mark_is_whole() -> None:
    data = stream("text")
    _, answer = decoded(data[: data.index(b"event: message_stop")])
    assert answer.finish_reason == "stop" and answer.usage is not None and not answer.usage.estimated


def test_events_and_blocks_that_aren_t_known_do_no_harm() -> None:
    block = {"type": "future_block", "payload": {"a": 1}}
    data = stream("text").replace(
        b"event: message_delta",
        event(type="future_event", index=9)
        + event(type="content_block_start", index=1, content_block=block)
        + event(type="content_block_delta", index=1, delta={"type": "future_delta", "x": 1})
        + b"event: message_delta",
        1,
    )
    _, answer = decoded(data)
    assert answer.parts[1].type == "vendor:anthropic" and orjson.loads(answer.parts[1].text or "") == block


def test_a_server_that_doesn_t_announce_its_blocks() -> None:
    data = stream("text")
    start = data.index(b"event: content_block_start")
    _, answer = decoded(data[:start] + data[data.index(b"event: ping") :])
    assert answer.parts[0].text == "Hello, größe!"


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -1, "output_tokens": 5},
        {"input_tokens": 5, "output_tokens": 10**9 + 1},
        {"input_tokens": 5, "output_tokens": 10**30},
        {"input_tokens": "many"},
        {"input_tokens": 5, "output_tokens": 5, "cache_read_input_tokens": -6},
        {"input_tokens": 5, "output_tokens": 5, "cache_creation": []},
    ],
)
def test_usage_that_can_t_be_true_counts_as_untold(usage: dict[str, Any]) -> None:
    message = orjson.loads((HERE / "message.json").read_bytes())
    answer = decoded_whole(json.dumps({**message, "usage": usage}).encode())
    assert answer.usage is not None and answer.usage.input_uncached is None and answer.usage.output is None
    assert json.loads(answer.usage.raw or "") == usage, "what was told is kept"


def test_details_that_can_t_be_true_don_t_spoil_the_rest() -> None:
    usage = {
        "input_tokens": 5, "output_tokens": 6, "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_1h_input_tokens": 8}, "output_tokens_details": {"thinking_tokens": 9},
    }  # fmt: skip
    message = orjson.loads((HERE / "message.json").read_bytes())
    seen = decoded_whole(orjson.dumps({**message, "usage": usage})).usage
    assert seen is not None and (seen.input_uncached, seen.output, seen.cache_write) == (5, 6, 7)
    assert seen.cache_write_1h is None and seen.reasoning is None


@pytest.mark.parametrize(
    "junk",
    [
        b"data: {nope\n\n", b"data: [1]\n\n", b'data: {"type":5}\n\n', b'data: {"type":"x","delta":[]}\n\n',
        b'data: {"type":"content_block_delta","index":0,"delta":{"text":5}}\n\n',
        b'data: {"type":"content_block_start","index":0,"content_block":[]}\n\n',
        b'data: {"type":"message_start","message":"x"}\n\n', b'data: {"x":' + b"[" * 100_000 + b"\n\n",
        b'data: {"type":"content_block_delta","delta":{"text":"\xff"}}\n\n',
    ],
)  # fmt: skip
def test_what_isn_t_an_event_is_a_failure(junk: bytes) -> None:
    with pytest.raises(ProviderFailure) as failed:
        decoded(stream("text").replace(b'event: ping\ndata: {"type":"ping"}\n\n', junk))
    assert failed.value.error.error_class == "provider_error" and failed.value.error.maybe_paid


def test_input_of_a_server_tool_that_was_cut_off() -> None:
    data = stream("web_search").replace(b' \\"weather NYC today\\"}', b"")
    _, answer = decoded(data)
    assert orjson.loads(answer.parts[0].text or "")["input"] == {}, "as it began: half an input is none"


def test_no_form_of_an_answer_is_encoded_much_longer_than_it_counts() -> None:
    """The bound of a result's size is what keeps an outcome within what a topic takes."""
    for name in ("text", "thinking_and_tools", "web_search"):
        decoder = AnthropicDecoder()
        decoder.feed(stream(name))
        for index in range(20, 1020):
            block = {"type": "tool_use", "id": "i" * (index % 300), "name": "n" * (index % 5), "input": {}}
            decoder.feed(event(type="content_block_start", index=index, content_block=block))
            decoder.feed(
                event(type="content_block_start", index=index + 2000, content_block={"type": "thinking"})
            )
        answer = decoder.finish()
        outcome = Outcome(
            event_id="", request_id="", tenant="", attempt=1, attempt_id="", tries=1, model="", status="",
            config_version="", timings=Timings(accepted_at=0), output=answer.parts,
        )  # fmt: skip
        assert len(Codec(SchemaStore()).encode(outcome)) <= decoder.output_bytes + 200
