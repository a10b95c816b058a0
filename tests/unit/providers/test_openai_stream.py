"""Streamed answers, decoded."""

import json
from typing import Any

import msgspec
import orjson
import pytest

from processors.providers.base import ProviderFailure
from processors.providers.openai import OpenAiDecoder
from processors.providers.openai_wire import usage_of
from schemas.codec import Codec
from schemas.records import Outcome, Timings, Usage
from schemas.registry import SchemaStore


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
