"""Streamed answers, decoded."""

import json
from typing import Any

import msgspec
import orjson
import pytest

from processors.providers.base import ProviderFailure
from processors.providers.openai.adapter import OpenAiDecoder
from processors.providers.openai.wire import usage_of
from schemas.codec import Codec
from schemas.records import Outcome, Timings, Usage
from schemas.registry import SchemaStore
from tests.unit.providers.openai.sdk import fixture


def sse(*chunks: dict[str, Any] | str) -> bytes:
    return b"".join(
        b"data: " + (chunk.encode() if isinstance(chunk, str) else orjson.dumps(chunk)) + b"\n\n"
        for chunk in chunks
    )


def delta(finish: str | None = None, **piece: Any) -> dict[str, Any]:
    return {"id": "resp", "model": "v-1", "choices": [{"index": 0, "delta": piece, "finish_reason": finish}]}


def test_a_whole_answer() -> None:
    decoder = OpenAiDecoder()
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4},
             "completion_tokens_details": {"reasoning_tokens": 2}}  # fmt: skip
    stream = sse(
        delta(role="assistant", content=""),
        delta(reasoning_content="hm"),
        delta(content="Hé"),
        delta(content="llo"),
        delta("stop"),
        {"id": "resp", "choices": [], "usage": usage},
        "[DONE]",
    )
    pieces = decoder.feed(stream)
    assert [(d.kind, d.text) for d in pieces] == [("thinking", "hm"), ("text", "Hé"), ("text", "llo")]
    assert decoder.done and decoder.output_bytes == 8
    answer = decoder.finish()
    assert [(p.type, p.text) for p in answer.parts] == [("thinking", "hm"), ("text", "Héllo")]
    assert (answer.finish_reason, answer.vendor_response_id, answer.vendor_model) == ("stop", "resp", "v-1")
    told = answer.usage
    assert told is not None and not told.estimated
    assert (told.input_uncached, told.cache_read, told.output, told.reasoning) == (6, 4, 5, 2)
    assert orjson.loads(told.raw or "") == usage


def test_tool_calls_are_put_together_by_index() -> None:
    decoder = OpenAiDecoder()
    first = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}}
    second = {"index": 1, "id": "c2", "function": {"name": "ask"}}
    decoder.feed(sse(delta(tool_calls=[first]), delta(tool_calls=[second])))
    decoder.feed(sse(delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}])))
    decoder.feed(sse(delta(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}]), delta("tool_calls")))
    answer = decoder.finish()
    assert answer.finish_reason == "tool_call"
    assert [(p.type, p.tool_call_id, p.tool_name, p.arguments) for p in answer.parts] == [
        ("tool_call", "c1", "look", '{"a":1}'),
        ("tool_call", "c2", "ask", "{}"),
    ]


@pytest.mark.parametrize(
    "stream", [b"", sse(delta(content="half")), sse("[DONE]"), sse(delta(content="x"), "[DONE]")]
)
def test_no_finish_reason_is_a_failure_never_an_empty_success(stream: bytes) -> None:
    decoder = OpenAiDecoder()
    decoder.feed(stream)
    with pytest.raises(ProviderFailure) as failed:
        decoder.finish()
    error = failed.value.error
    assert (error.error_class, error.retriable, error.maybe_paid) == ("truncated", True, True)
    assert not failed.value.repeatable


def test_an_empty_answer_with_a_finish_reason_is_an_answer() -> None:
    decoder = OpenAiDecoder()
    decoder.feed(sse(delta("content_filter")))
    answer = decoder.finish()
    assert answer.finish_reason == "content_filter" and answer.parts == [] and answer.usage is None


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "boom", "code": "x"}},
        {"error": "boom"},
        {"error": {"message": "boom", "code": 5}},
    ],
)
def test_an_error_event_inside_a_200_is_a_failure(error: dict[str, Any]) -> None:
    decoder = OpenAiDecoder()
    with pytest.raises(ProviderFailure, match="boom") as failed:
        decoder.feed(sse(delta(content="a"), error))
    assert failed.value.error.error_class == "provider_error" and failed.value.error.maybe_paid


def test_a_null_error_is_none() -> None:
    decoder = OpenAiDecoder()
    decoder.feed(sse({**delta("stop", content="fine"), "error": None, "usage": None}))
    assert decoder.finish().parts[0].text == "fine"


@pytest.mark.parametrize("junk", [b"data: {nope\n\n", b'data: {"choices": 5}\n\n', b"data: [1]\n\n"])
def test_what_isn_t_a_chunk_is_a_failure(junk: bytes) -> None:
    with pytest.raises(ProviderFailure) as failed:
        OpenAiDecoder().feed(junk)
    assert failed.value.error.error_class == "provider_error" and failed.value.error.maybe_paid


def test_usage_of_another_form_is_kept_raw() -> None:
    decoder = OpenAiDecoder()
    decoder.feed(sse({**delta("stop"), "usage": {"prompt_tokens": "many"}}))
    usage = decoder.finish().usage
    assert usage is not None and usage.output is None and usage.raw == '{"prompt_tokens":"many"}'


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": -5},
        {"prompt_tokens": 10**9 + 1, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": 10**30},
        {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -6}},
        {
            "prompt_tokens": 5,
            "completion_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 10**12},
        },
    ],
)
def test_usage_that_can_t_be_true_counts_as_untold(usage: dict[str, Any]) -> None:
    """Believed, it would make a negative cost, one that no record can hold, or a rate limit in debt for ever."""
    raw = json.dumps(usage, separators=(",", ":"))
    assert usage_of(msgspec.Raw(raw.encode())) == Usage(raw=raw)


def test_usage_beside_broken_text_is_told() -> None:
    usage = usage_of(msgspec.Raw(b'{"tier":"\xff","prompt_tokens":3,"completion_tokens":4}'))
    assert usage is not None and (usage.input_uncached, usage.output) == (3, 4)
    assert usage_of(msgspec.Raw(b'{"prompt_tokens":"\xff"}')) == Usage(raw='{"prompt_tokens":"\ufffd"}')


def test_a_server_that_doesn_t_stream() -> None:
    decoder = OpenAiDecoder(whole=True)
    message = {"role": "assistant", "content": "all at once"}
    whole = orjson.dumps(
        {"id": "r", "choices": [{"index": 0, "message": message, "finish_reason": "length"}]}
    )
    assert decoder.feed(whole[:10]) == [] and decoder.feed(whole[10:]) == []
    answer = decoder.finish()
    assert (answer.parts[0].text, answer.finish_reason) == ("all at once", "length")


def test_hosts_of_tool_calls_count_against_the_bound() -> None:
    """Ids and names are cut and calls counted, so that no form of an answer escapes the bound of its size."""
    decoder = OpenAiDecoder()
    for index in range(100):
        decoder.feed(
            sse(delta(tool_calls=[{"index": index, "id": "i" * 9999, "function": {"name": "n" * 9999}}]))
        )
    decoder.feed(sse(delta("tool_calls")))
    assert decoder.output_bytes >= 100 * (2 * 256 + 30)
    assert max(len(p.tool_call_id or "") + len(p.tool_name or "") for p in decoder.finish().parts) <= 512


def test_an_id_that_is_told_with_every_piece_counts_once() -> None:
    decoder = OpenAiDecoder()
    for _ in range(1000):
        call = {"index": 0, "id": "call-1", "function": {"name": "look", "arguments": "x"}}
        decoder.feed(sse(delta(tool_calls=[call])))
    assert 1000 + 10 < decoder.output_bytes < 1100


def test_no_form_of_an_answer_is_encoded_much_longer_than_it_counts() -> None:
    """The bound of a result's size is what keeps an outcome within what a topic takes."""
    decoder = OpenAiDecoder()
    for index in range(2000):
        function = {"name": "n" * (index % 7), "arguments": "y" if index % 3 else ""}
        decoder.feed(sse(delta(tool_calls=[{"index": index, "id": "i" * (index % 5), "function": function}])))
    decoder.feed(sse(delta("tool_calls")))
    answer = decoder.finish()
    outcome = Outcome(
        event_id="", request_id="", tenant="", attempt=1, attempt_id="", tries=1, model="", status="",
        config_version="", timings=Timings(accepted_at=0), output=answer.parts,
    )  # fmt: skip
    assert len(Codec(SchemaStore()).encode(outcome)) <= decoder.output_bytes + 200


def answer(name: str) -> Any:
    decoder = OpenAiDecoder(whole=name.endswith(".json"))
    decoder.feed(fixture(name))
    return decoder.finish()


def test_what_the_vendor_counts_is_told_apart() -> None:
    usage = answer("openai/chat_text.sse").usage
    assert (usage.input_uncached, usage.cache_read, usage.cache_write) == (2006 - 1920 - 64, 1920, 64)
    assert (usage.output, usage.reasoning, usage.audio_input) == (300, 128, 0)


def test_a_refusal_is_told_as_one() -> None:
    refused = answer("openai/chat_refusal.sse")
    assert (refused.finish_reason, refused.finish_reason_raw) == ("refusal", "stop")
    assert [p.text for p in refused.parts] == ["I'm sorry, I can't help with that."]


def test_the_vendor_s_word_for_the_end_is_kept() -> None:
    cut = answer("openai/chat_length.sse")
    assert (cut.finish_reason, cut.finish_reason_raw) == ("length", "length")
    calls = answer("openai/chat_tools.sse")
    assert (calls.finish_reason, calls.finish_reason_raw) == ("tool_call", "tool_calls")
    assert [(p.tool_name, p.arguments) for p in calls.parts] == [
        ("get_weather", '{"location":"Paris"}'),
        ("get_time", '{"zone":"CET"}'),
    ]


def test_a_call_that_was_forced_ends_as_one() -> None:
    """The vendor says `stop` where the request named the tool."""
    decoder = OpenAiDecoder()
    decoder.feed(
        sse(delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "look"}}]), delta("stop"))
    )
    assert decoder.finish().finish_reason == "tool_call"


def test_arguments_that_come_as_an_object_become_a_text() -> None:
    decoder = OpenAiDecoder()
    call = {"index": 0, "id": "c", "function": {"name": "look", "arguments": {"a": [1, "é"]}}}
    decoder.feed(sse(delta(tool_calls=[call]), delta("tool_calls")))
    assert decoder.finish().parts[0].arguments == '{"a":[1,"é"]}'


def test_a_spoken_answer() -> None:
    decoder = OpenAiDecoder()
    heard = decoder.feed(fixture("openai/chat_audio.sse"))
    assert [(d.kind, d.text) for d in heard] == [
        ("audio", "Hello"), ("audio", ""), ("audio", " there"), ("audio", ""),
    ]  # fmt: skip
    spoken = decoder.finish()
    [part] = spoken.parts
    assert (part.type, part.id, part.text, part.media_type) == (
        "audio",
        "audio_68c1",
        "Hello there",
        "audio/pcm",
    )
    assert part.data is not None and len(part.data) == 16
    assert spoken.usage is not None
    assert (spoken.usage.audio_input, spoken.usage.audio_output) == (12, 20)
    whole = answer("openai/chat_audio.json").parts[0]
    assert (whole.media_type, whole.text) == ("audio/wav", "Yes, golden retrievers.")


def test_audio_that_is_not_base64_is_a_failure() -> None:
    with pytest.raises(ProviderFailure, match="not base64") as failed:
        OpenAiDecoder().feed(sse(delta(audio={"data": "QUJD$RA=="})))
    assert failed.value.error.error_class == "provider_error"


def test_citations_are_left_out_and_the_text_stays() -> None:
    assert [p.text for p in answer("openai/chat_citations.json").parts] == ["It is sunny [1]."]


def test_an_error_after_half_an_answer_is_billed_and_never_repeated() -> None:
    decoder = OpenAiDecoder()
    with pytest.raises(ProviderFailure, match="had an error while processing") as failed:
        decoder.feed(fixture("openai/chat_error.sse"))
    error = failed.value.error
    assert (error.error_class, error.retriable, error.maybe_paid) == ("provider_error", True, True)
    assert not failed.value.repeatable and decoder.output_bytes == len("Half")


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, 5),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 18}, 8),
        ({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": None}, 5),
    ],
)
def test_the_total_tells_whether_reasoning_is_within_the_output(usage: dict[str, Any], output: int) -> None:
    usage["completion_tokens_details"] = {"reasoning_tokens": 3}
    told = usage_of(msgspec.Raw(orjson.dumps(usage)))
    assert told is not None and (told.output, told.reasoning) == (output, 3)


def test_no_token_is_billed_twice() -> None:
    """More written to the cache than is left beside what was read from it can't be."""
    usage = {"prompt_tokens": 10, "completion_tokens": 1}
    details = {"cached_tokens": 6, "cache_write_tokens": 9}
    told = usage_of(msgspec.Raw(orjson.dumps({**usage, "prompt_tokens_details": details})))
    assert told is not None
    assert (told.input_uncached, told.cache_read, told.cache_write) == (0, 6, 4)


def test_deltas_of_several_tool_calls_are_told_apart() -> None:
    deltas = OpenAiDecoder().feed(fixture("openai/chat_tools.sse"))
    assert {d.index for d in deltas if d.text.startswith('{"zone')} == {1}
    assert {d.index for d in deltas if "Paris" in d.text} == {0}
