"""Answers of Cohere, decoded: streams, whole answers, errors, embeddings, rankings."""

import json
from typing import Any

import msgspec
import orjson
import pytest

from processors.providers.base import Completion, Delta, ProviderFailure
from processors.providers.cohere.adapter import ERRORS, CohereAdapter, CohereDecoder
from processors.providers.cohere.embeddings import (
    decode_embeddings,
    decode_rerank,
    encode_embeddings,
    encode_rerank,
)
from processors.providers.cohere.wire import error_of, usage_of
from processors.providers.failures import kind_of
from schemas.codec import Codec
from schemas.records import Outcome, Timings, Usage
from schemas.registry import SchemaStore
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.cohere.sdk import asked_by_sdk, model_of

HERE = FIXTURES / "cohere"


def decoded(data: bytes) -> tuple[list[Delta], Completion]:
    decoder = CohereDecoder()
    deltas = decoder.feed(data)
    return deltas, decoder.finish()


def fixture(name: str) -> tuple[list[Delta], Completion]:
    return decoded((HERE / f"{name}.sse").read_bytes())


def event(kind: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def text(value: str) -> bytes:
    return event("content-delta", index=0, delta={"message": {"content": {"text": value}}})


def end(word: str) -> bytes:
    return event("message-end", delta={"finish_reason": word})


def failure_of(data: bytes) -> ProviderFailure:
    decoder = CohereDecoder()
    with pytest.raises(ProviderFailure) as failed:
        decoder.feed(data)
        decoder.finish()
    return failed.value


def test_a_text() -> None:
    decoder = CohereDecoder()
    deltas = decoder.feed((HERE / "text.sse").read_bytes())
    assert [d.text for d in deltas] == ["LLM", " stands for: Grüße", "."] and decoder.done
    answer = decoder.finish()
    assert [(p.type, p.text) for p in answer.parts] == [("text", "LLM stands for: Grüße.")]
    assert (answer.finish_reason, answer.finish_reason_raw) == ("stop", "COMPLETE")
    assert answer.vendor_response_id == "29f14a5a-11de-4cae-9800-25e4747408ea"
    usage = answer.usage
    assert usage is not None and (usage.input_uncached, usage.cache_read, usage.output) == (5, None, 420)


def test_thinking() -> None:
    deltas, answer = fixture("thinking")
    assert [d.kind for d in deltas] == ["thinking", "thinking", "text"]
    assert [(p.type, p.text, p.id) for p in answer.parts] == [
        ("thinking", "Alice is a sister too.", "cohere"), ("text", "Three.", None)
    ]  # fmt: skip


def test_a_plan_and_tool_calls() -> None:
    _, answer = fixture("tools")
    plan, first, second = answer.parts
    assert (plan.type, plan.text, plan.id) == ("thinking", "I will look up both.", "cohere:tool_plan")
    assert (first.tool_call_id, first.tool_name) == ("get_weather_nsz5zm3w56q3", "get_weather")
    assert orjson.loads(first.arguments or "") == {"location": "Madrid"}
    assert orjson.loads(second.arguments or "") == {"location": "Brasilia"}
    assert answer.finish_reason == "tool_call"
    usage = answer.usage
    assert usage is not None and (usage.input_uncached, usage.cache_read) == (119, None), (
        "what is billed counts"
    )
    assert orjson.loads(usage.raw or "")["cached_tokens"] == 1504


def test_usage_where_nothing_is_told_as_billed() -> None:
    raw = msgspec.Raw(b'{"tokens":{"input_tokens":100.0,"output_tokens":7},"cached_tokens":60}')
    usage = usage_of(raw)
    assert usage is not None and (usage.input_uncached, usage.cache_read, usage.output) == (40, 60, 7)


@pytest.mark.parametrize(
    "usage",
    [
        {"billed_units": {"input_tokens": -1, "output_tokens": 5}},
        {"billed_units": {"input_tokens": 10**9 + 1}},
        {"tokens": {"input_tokens": 5}, "cached_tokens": 6},
        {"tokens": {"input_tokens": "many"}},
        {},
    ],
)
def test_usage_that_can_t_be_true_counts_as_untold(usage: dict[str, Any]) -> None:
    raw = json.dumps(usage, separators=(",", ":"))
    assert usage_of(msgspec.Raw(raw.encode())) == Usage(raw=raw)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop_sequence"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_call"),
        ("A_WORD_OF_TOMORROW", "error"),
    ],
)  # fmt: skip
def test_finish_reasons(word: str, reason: str) -> None:
    _, answer = decoded(text("x") + end(word))
    assert (answer.finish_reason, answer.finish_reason_raw) == (reason, word)


@pytest.mark.parametrize("word", ["ERROR", "TIMEOUT"])
def test_a_server_that_breaks_off_gave_no_answer(word: str) -> None:
    problem = failure_of(text("half") + end(word))
    assert problem.error.error_class == "provider_error" and word in problem.error.message
    assert problem.error.retriable and problem.error.maybe_paid


def test_an_error_inside_a_200_is_a_failure() -> None:
    decoder = CohereDecoder()
    with pytest.raises(ProviderFailure, match="internal server error") as failed:
        decoder.feed((HERE / "error.sse").read_bytes())
    assert failed.value.error.maybe_paid and not failed.value.repeatable
    assert decoder.usage is not None and decoder.usage.output == 1
    assert failure_of(text("half") + b'data: {"message":"boom"}\n\n').error.error_class == "provider_error"


@pytest.mark.parametrize("data", [b"", text("half"), b"data: [DONE]\n\n", event("message-end")])
def test_no_finish_reason_is_a_failure_never_an_empty_success(data: bytes) -> None:
    error = failure_of(data).error
    assert (error.error_class, error.retriable, error.maybe_paid) == ("truncated", True, True)


def test_a_server_that_doesn_t_stream() -> None:
    whole = (HERE / "whole.json").read_bytes()
    decoder = CohereAdapter().decoder("application/json")
    assert decoder.feed(whole[:50]) == [] and decoder.feed(whole[50:]) == []
    answer = decoder.finish()
    assert [(p.type, p.text or p.arguments) for p in answer.parts] == [
        ("thinking", "I will look."), ("thinking", "Short."), ("text", "All at once."), ("tool_call", '{"a":1}')
    ]  # fmt: skip
    assert answer.finish_reason == "tool_call" and answer.usage is not None and answer.usage.output == 418


def test_a_block_that_only_cohere_knows_is_kept() -> None:
    decoder = CohereDecoder(whole=True)
    decoder.feed(b'{"finish_reason":"COMPLETE","message":{"content":[{"type":"chart","points":[1]}]}}')
    [part] = decoder.finish().parts
    assert (part.type, part.text) == ("vendor:cohere", '{"type":"chart","points":[1]}')


@pytest.mark.parametrize(
    "junk",
    [
        b"data: {nope\n\n", b'data: {"type": 5}\n\n', b"data: [1]\n\n", b"data: null\n\n",
        b'data: {"type":"content-delta","delta":{"message":{"content":{"text":"\xff"}}}}\n\n',
        b'data: {"type":"x","y":' + b"[" * 9999 + b"]" * 9999 + b"}\n\n",
    ],
)  # fmt: skip
def test_what_isn_t_an_event_is_a_failure(junk: bytes) -> None:
    problem = failure_of(junk)
    assert problem.error.error_class == "provider_error" and problem.error.maybe_paid


@pytest.mark.parametrize(
    ("status", "name", "error_class", "follows"),
    [
        (400, "too_long", "context_exceeded", "context_exceeded"),
        (400, "max_tokens", "invalid_request", "invalid"),
        (400, "invalid", "invalid_request", "invalid"),
        (401, "token", "auth", "auth_failed"),
        (402, "billing", "spend_limit", "spend_limit"),
        (404, "model", "no_such_model", "invalid"),
        (429, "rate", "rate_limited", "retry"),
        (429, "month", "spend_limit", "spend_limit"),
        (498, "invalid", "content_filter", "content_filtered"),
        (499, "invalid", "provider_error", "retry"),
    ],
)
def test_every_error(status: int, name: str, error_class: str, follows: str) -> None:
    body = (HERE / f"error_{name}.json").read_bytes()
    problem = CohereAdapter().failure(status, 1500, body)
    assert problem.error.error_class == error_class and problem.error.retry_after_ms == 1500
    codes, message = error_of(body)
    assert kind_of(status, codes, ERRORS).follows == follows
    assert message[:100] in problem.error.message


@pytest.mark.parametrize(
    "body", [b"", b"<html>gateway</html>", b"\xff", b"[]", b'{"message":5}', b"{}", b"[" * 9999 + b"]" * 9999]
)
def test_any_form_of_error_body_is_told(body: bytes) -> None:
    problem = CohereAdapter().failure(503, None, body)
    assert problem.error.error_class == "overloaded" and "HTTP 503" in problem.error.message


def test_no_form_of_an_answer_is_encoded_much_longer_than_it_counts() -> None:
    """The bound of a result's size is what keeps an outcome within what a topic takes."""
    decoder = CohereDecoder()
    for n in range(500):
        function = {"name": "n" * (n % 7), "arguments": "y" if n % 3 else ""}
        call = {"id": "i" * (n % 5), "function": function}
        decoder.feed(event("tool-call-start", index=n, delta={"message": {"tool_calls": call}}))
        decoder.feed(text("ü") + event("tool-plan-delta", delta={"message": {"tool_plan": "p"}}))
    decoder.feed(end("TOOL_CALL"))
    outcome = Outcome(
        event_id="", request_id="", tenant="", attempt=1, attempt_id="", tries=1, model="", status="",
        config_version="", timings=Timings(accepted_at=0), output=decoder.finish().parts,
    )  # fmt: skip
    assert len(Codec(SchemaStore()).encode(outcome)) <= decoder.output_bytes + 200


def test_embeddings() -> None:
    answer = (HERE / "embed.json").read_bytes()
    inputs = ["hello", "goodbye"]
    request = encode_embeddings(
        inputs, model_of(vendor_model="embed-v4.0"), dimensions=256, input_type="query"
    )
    path, body, theirs = asked_by_sdk(
        "embed", answer, model="embed-v4.0", texts=inputs, input_type="search_query", embedding_types=["float"],
        output_dimension=256, truncate="NONE",
    )  # fmt: skip
    assert (path, body) == (f"/v2{request.path}", orjson.loads(request.body))
    seen = decode_embeddings(answer)
    assert seen.vectors == theirs.embeddings.float_ and (seen.usage.input_uncached, seen.usage.output) == (
        2,
        0,
    )
    told = orjson.loads(encode_embeddings(["x"], model_of(), input_type="clustering").body)
    assert told["input_type"] == "clustering"
    assert orjson.loads(encode_embeddings(["x"], model_of()).body)["input_type"] == "search_document"


def test_rerank() -> None:
    answer = (HERE / "rerank.json").read_bytes()
    documents = ["a", "b", "c", "d", "e"]
    request = encode_rerank("what", documents, model_of(vendor_model="rerank-v4.0-pro"), 3)
    path, body, theirs = asked_by_sdk(
        "rerank", answer, model="rerank-v4.0-pro", query="what", documents=documents, top_n=3
    )
    assert (path, body) == (f"/v2{request.path}", orjson.loads(request.body))
    seen = decode_rerank(answer)
    assert seen.items == [(one.index, one.relevance_score) for one in theirs.results]
    assert seen.usage.input_uncached is None and '"search_units": 1' in (seen.usage.raw or "")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"embeddings":{"float":[["x"]]}}', b'{"embeddings":{"int8":[[1]]}}',
        b'{"results":[{"index":0}]}', b'{"results":[{"index":-1,"relevance_score":1}]}',
        b'{"results":[{"index":1,"relevance_score":1},{"index":1,"relevance_score":2}]}', b"\xff",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    for decode in (decode_embeddings, decode_rerank):
        with pytest.raises(ProviderFailure) as failed:
            decode(body)
        assert failed.value.error.error_class == "provider_error"
