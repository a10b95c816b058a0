"""Answers of Mistral, decoded: streams, whole answers, errors, embeddings."""

import json
from typing import Any

import msgspec
import orjson
import pytest

from processors.providers.base import Completion, Delta, ProviderFailure
from processors.providers.failures import kind_of
from processors.providers.mistral.adapter import (
    ERRORS,
    MistralAdapter,
    MistralDecoder,
    decode_embeddings,
    encode_embeddings,
)
from processors.providers.mistral.wire import error_of, usage_of
from schemas.codec import Codec
from schemas.records import Outcome, Timings, Usage
from schemas.registry import SchemaStore
from schemas.signals import Invalid
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.mistral.sdk import check_embedding_request, model_of


def decoded(data: bytes) -> tuple[list[Delta], Completion]:
    decoder = MistralDecoder()
    deltas = decoder.feed(data)
    return deltas, decoder.finish()


def fixture(name: str) -> tuple[list[Delta], Completion]:
    return decoded((FIXTURES / f"mistral/{name}.sse").read_bytes())


def event(finish: str | None = None, **delta: Any) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + orjson.dumps(body) + b"\n\n"


def failure_of(data: bytes) -> ProviderFailure:
    decoder = MistralDecoder()
    with pytest.raises(ProviderFailure) as failed:
        decoder.feed(data)
        decoder.finish()
    return failed.value


def test_a_text() -> None:
    deltas, answer = fixture("text")
    assert [(d.kind, d.text) for d in deltas] == [("text", "The best"), ("text", " cheese: Comté.")]
    assert [(p.type, p.text) for p in answer.parts] == [("text", "The best cheese: Comté.")]
    assert (answer.finish_reason, answer.finish_reason_raw) == ("stop", "stop")
    assert answer.vendor_model == "mistral-large-latest"
    assert answer.vendor_response_id == "a1f4d2c0b6e84f7d9c35e2a10b7f6c88"
    usage = answer.usage
    assert usage is not None and (usage.input_uncached, usage.cache_read, usage.output) == (17, None, 9)


def test_thinking() -> None:
    deltas, answer = fixture("thinking")
    assert [d.kind for d in deltas] == ["thinking", "thinking", "text"]
    assert [(p.type, p.text, p.id) for p in answer.parts] == [
        ("thinking", "Let me compare the two.", "mistral"), ("text", "9.9 is larger.", None)
    ]  # fmt: skip


def test_tool_calls_and_cached_input() -> None:
    _, answer = fixture("tools")
    assert [(p.tool_call_id, p.tool_name, p.arguments) for p in answer.parts] == [
        ("D681PevKs", "retrieve_payment_status", '{"transaction_id": "T1001"}'),
        ("fCkN8aXq2", "retrieve_payment_date", '{"transaction_id": "T1001"}'),
    ]
    assert answer.finish_reason == "tool_call"
    usage = answer.usage
    assert usage is not None and (usage.input_uncached, usage.cache_read) == (32, 64)


@pytest.mark.parametrize(
    "pieces",
    [
        # by index; without index; an absent id is "null"; two calls at one index
        [[{"index": 0, "id": "aaaaaaaaa", "function": {"name": "f", "arguments": '{"a"'}}],
         [{"index": 0, "id": "null", "function": {"name": "", "arguments": ":1}"}}],
         [{"index": 1, "id": "bbbbbbbbb", "function": {"name": "g", "arguments": {"b": 2}}}]],
        [[{"id": "aaaaaaaaa", "function": {"name": "f", "arguments": '{"a"'}}],
         [{"function": {"arguments": ":1}"}}],
         [{"id": "bbbbbbbbb", "function": {"name": "g", "arguments": '{"b":2}'}}]],
        [[{"index": 0, "id": "aaaaaaaaa", "function": {"name": "f", "arguments": '{"a":1}'}},
          {"index": 0, "id": "bbbbbbbbb", "function": {"name": "g", "arguments": '{"b":2}'}}]],
    ],
)  # fmt: skip
def test_tool_calls_are_put_together(pieces: list[list[dict[str, Any]]]) -> None:
    stream = b"".join(event(tool_calls=one) for one in pieces) + event("tool_calls")
    _, answer = decoded(stream)
    assert [(p.tool_call_id, p.tool_name, orjson.loads(p.arguments or "")) for p in answer.parts] == [
        ("aaaaaaaaa", "f", {"a": 1}), ("bbbbbbbbb", "g", {"b": 2})
    ]  # fmt: skip


def test_chunks_that_only_mistral_knows_are_kept_in_their_place() -> None:
    _, answer = fixture("reference")
    assert [p.type for p in answer.parts] == ["text", "vendor:mistral", "text"]
    assert orjson.loads(answer.parts[1].text or "") == {"type": "reference", "reference_ids": [0, 2]}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"), ("length", "length"), ("model_length", "context_exceeded"), ("tool_calls", "tool_call"),
        ("content_filter", "content_filter"), ("a word of tomorrow", "error"),
    ],
)  # fmt: skip
def test_finish_reasons(word: str, reason: str) -> None:
    _, answer = decoded(event(content="x") + event(word))
    assert (answer.finish_reason, answer.finish_reason_raw) == (reason, word)


def test_a_server_that_breaks_off_gave_no_answer() -> None:
    problem = failure_of((FIXTURES / "mistral/error.sse").read_bytes())
    assert problem.error.error_class == "provider_error"
    assert problem.error.retriable and problem.error.maybe_paid


def test_a_server_that_doesn_t_stream() -> None:
    whole = (FIXTURES / "mistral/whole.json").read_bytes()
    decoder = MistralAdapter().decoder("application/json")
    assert decoder.feed(whole[:50]) == [] and decoder.feed(whole[50:]) == []
    answer = decoder.finish()
    assert [(p.type, p.text or p.arguments) for p in answer.parts] == [
        ("thinking", "Short."), ("text", "All at once."), ("tool_call", '{"a":1}')
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"", event(content="half"), b"data: [DONE]\n\n"])
def test_no_finish_reason_is_a_failure_never_an_empty_success(data: bytes) -> None:
    error = failure_of(data).error
    assert (error.error_class, error.retriable, error.maybe_paid) == ("truncated", True, True)


def test_a_missing_end_mark_alone_is_fine() -> None:
    decoder = MistralDecoder()
    decoder.feed(event("stop", content="x"))
    assert not decoder.done and decoder.finish().parts[0].text == "x"


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (b'{"object":"error","message":"boom","type":"invalid_request_error","code":null}', "provider_error"),
        (b'{"error":{"message":"boom","code":"3505"}}', "overloaded"),
        (b'{"error":"boom"}', "provider_error"),
    ],
)
def test_an_error_inside_a_200_is_a_failure(body: bytes, error_class: str) -> None:
    problem = failure_of(event(content="half") + b"data: " + body + b"\n\n")
    assert problem.error.error_class == error_class and "boom" in problem.error.message
    assert problem.error.maybe_paid and not problem.repeatable


@pytest.mark.parametrize(
    "junk",
    [
        b"data: {nope\n\n", b'data: {"choices": 5}\n\n', b"data: [1]\n\n", b"data: null\n\n",
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n', b'data: {"choices":[{"delta":{"content":{}}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":[{"type":"x","y":' + b"[" * 9999 + b"]" * 9999 + b"}]}}]}\n\n",
    ],
)  # fmt: skip
def test_what_isn_t_a_chunk_is_a_failure(junk: bytes) -> None:
    problem = failure_of(junk)
    assert problem.error.error_class == "provider_error" and problem.error.maybe_paid


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 10**9 + 1},
        {"prompt_tokens": 5, "completion_tokens": 10**30},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens": "many"},
    ],
)
def test_usage_that_can_t_be_true_counts_as_untold(usage: dict[str, Any]) -> None:
    raw = json.dumps(usage, separators=(",", ":"))
    assert usage_of(msgspec.Raw(raw.encode())) == Usage(raw=raw)


@pytest.mark.parametrize(
    ("status", "name", "error_class", "follows"),
    [
        (400, "call_id", "invalid_request", "invalid"),
        (400, "context", "context_exceeded", "context_exceeded"),
        (400, "model", "no_such_model", "invalid"),
        (401, "unauthorised", "auth", "auth_failed"),
        (422, "extra", "invalid_request", "invalid"),
        (429, "rate", "rate_limited", "retry"),
        (429, "capacity", "overloaded", "busy"),
    ],
)
def test_every_error(status: int, name: str, error_class: str, follows: str) -> None:
    body = (FIXTURES / f"mistral/error_{name}.json").read_bytes()
    problem = MistralAdapter().failure(status, 1500, body)
    assert problem.error.error_class == error_class and problem.error.retry_after_ms == 1500
    codes, message = error_of(body)
    assert kind_of(status, codes, ERRORS).follows == follows
    assert message[:200] in problem.error.message and not message.startswith('{"object"')


def test_capacity_told_without_a_code() -> None:
    body = b'{"message":"Service tier capacity exceeded for this model.","type":"invalid_request_error","code":null}'
    assert MistralAdapter().failure(429, None, body).error.error_class == "overloaded"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>gateway</html>", b"\xff", b"[]", b'{"error":5}', b'{"message":[1]}', b'{"code":[]}', b"{}",
        b'{"error":"\xff"}', b'{"detail":' + b"[" * 9999 + b"]" * 9999 + b"}",
    ],
)  # fmt: skip
def test_any_form_of_error_body_is_told(body: bytes) -> None:
    problem = MistralAdapter().failure(503, None, body)
    assert problem.error.error_class == "overloaded" and "HTTP 503" in problem.error.message


def test_no_form_of_an_answer_is_encoded_much_longer_than_it_counts() -> None:
    """The bound of a result's size is what keeps an outcome within what a topic takes."""
    decoder = MistralDecoder()
    for n in range(500):
        function = {"name": "n" * (n % 7), "arguments": "y" if n % 3 else ""}
        decoder.feed(event(tool_calls=[{"index": n, "id": "i" * (n % 5), "function": function}]))
        decoder.feed(event(content=[{"type": "reference"}, {"type": "text", "text": "ü" * (n % 3)}]))
    decoder.feed(event("tool_calls"))
    outcome = Outcome(
        event_id="", request_id="", tenant="", attempt=1, attempt_id="", tries=1, model="", status="",
        config_version="", timings=Timings(accepted_at=0), output=decoder.finish().parts,
    )  # fmt: skip
    assert len(Codec(SchemaStore()).encode(outcome)) <= decoder.output_bytes + 200


def test_embeddings() -> None:
    request = encode_embeddings(["a", "b"], model_of(vendor_model="mistral-embed"), dimensions=3)
    assert (request.method, request.path) == ("POST", "/embeddings")
    body = orjson.loads(request.body)
    check_embedding_request(body)
    assert body == {"model": "mistral-embed", "input": ["a", "b"], "output_dimension": 3}
    seen = decode_embeddings((FIXTURES / "mistral/embeddings.json").read_bytes())
    assert seen.vectors == [[-0.0165, 0.0701, 0.0319], [-0.0301, 0.0655, 0.0211]]
    assert (seen.usage.input_uncached, seen.usage.output) == (15, 0)
    with pytest.raises(Invalid, match="input_type"):
        encode_embeddings(["a"], model_of(), input_type="query")
    assert encode_embeddings(["a"], model_of("drop"), input_type="query").dropped == ("input_type",)
