"""Answers of Google, decoded: streams, whole answers, usage, what goes wrong inside them."""

import json
from typing import Any

import orjson
import pytest

from processors.providers.base import Completion, Delta, ProviderFailure
from processors.providers.gemini.adapter import GeminiAdapter, GeminiDecoder
from processors.providers.gemini.wire import usage_of
from schemas.codec import Codec
from schemas.records import ContentPart, Outcome, Timings, Usage
from schemas.registry import SchemaStore
from tests.fuzz_providers import FIXTURES


def stream(name: str) -> bytes:
    return (FIXTURES / f"{name}.sse").read_bytes()


def decoded(data: bytes) -> tuple[list[Delta], Completion]:
    decoder = GeminiDecoder()
    deltas = decoder.feed(data)
    return deltas, decoder.finish()


def failure_of(data: bytes) -> tuple[ProviderFailure, GeminiDecoder]:
    decoder = GeminiDecoder()
    with pytest.raises(ProviderFailure) as failed:
        decoder.feed(data)
        decoder.finish()
    return failed.value, decoder


def event(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}} if parts else {}
    if finish:
        candidate["finishReason"] = finish
    return b"data: " + orjson.dumps({"candidates": [candidate], **more}) + b"\n\n"


def counts(usage: Usage | None) -> tuple[int | None, ...]:
    assert usage is not None
    return usage.input_uncached, usage.cache_read, usage.output, usage.reasoning


def test_a_text() -> None:
    decoder = GeminiDecoder()
    deltas = decoder.feed(stream("gemini/text"))
    assert [d.kind for d in deltas] == ["text"] * 3 and decoder.done
    answer = decoder.finish()
    text = "The sky looks blue because air scatters short waves more: Grüße."
    assert [(p.type, p.text, p.signature) for p in answer.parts] == [("text", text, None)]
    assert "".join(d.text for d in deltas) == text
    assert (answer.finish_reason, answer.finish_reason_raw) == ("stop", "STOP")
    assert (answer.vendor_model, answer.vendor_response_id) == ("gemini-2.5-flash", "Wd8oaZ3mFq2Pz7IPkPWP4AE")
    assert counts(answer.usage) == (9, None, 14, None)
    assert answer.usage is not None and not answer.usage.estimated
    assert orjson.loads(answer.usage.raw or "")["candidatesTokenCount"] == 14


def test_thinking_and_a_signature_that_comes_alone() -> None:
    deltas, answer = decoded(stream("gemini/thinking"))
    assert [d.kind for d in deltas] == ["thinking", "text", "text"]
    assert [(p.type, p.text, p.id) for p in answer.parts] == [
        ("thinking", "**Comparing the numbers**\n\nI compare the decimals.", "gemini"),
        ("text", "9.9 is larger than 9.11.", None),
        ("text", "", None),
    ]
    assert [bool(p.signature) for p in answer.parts] == [False, False, True]
    assert counts(answer.usage) == (17, None, 107, 96)


def test_signed_texts_stay_apart() -> None:
    _, answer = decoded(
        event({"text": "a"}) + event({"text": "b", "thoughtSignature": "c2ln"}, {"text": "c"}, finish="STOP")
    )
    assert [(p.text, p.signature) for p in answer.parts] == [("a", None), ("b", "c2ln"), ("c", None)]


def test_parallel_calls_without_ids() -> None:
    deltas, answer = decoded(stream("gemini/tools"))
    assert (answer.finish_reason, answer.finish_reason_raw) == ("tool_call", "STOP")
    assert [(p.tool_name, orjson.loads(p.arguments or "")) for p in answer.parts] == [
        ("get_temperature", {"location": "Paris", "unit": "celsius"}),
        ("get_temperature", {"location": "London"}),
    ]
    assert [bool(p.signature) for p in answer.parts] == [True, False]
    ids = [p.tool_call_id or "" for p in answer.parts]
    assert len(set(ids)) == 2 and all(id_.startswith("gemini-") and len(id_) <= 40 for id_ in ids)
    assert [d.text for d in deltas] == [p.arguments for p in answer.parts]
    again = decoded(stream("gemini/tools").replace(b"p78oaen5", b"q89pbfo6"))[1]
    assert {p.tool_call_id for p in again.parts}.isdisjoint(ids), "another answer's calls have other ids"


def test_calls_with_ids_keep_them() -> None:
    _, answer = decoded(stream("gemini/tools_ids"))
    assert [(p.type, p.tool_call_id, p.arguments) for p in answer.parts] == [
        ("text", None, None),
        ("tool_call", "q9xf1i3z", '{"city":"Oslo","days":2}'),
        ("tool_call", "b27ukd0a", "{}"),
    ]


def test_cached_input_and_modalities() -> None:
    usage = decoded(stream("gemini/cached"))[1].usage
    assert counts(usage) == (3024 - 2048, 2048, 8, None)
    assert usage is not None and (usage.image_input, usage.audio_input) == (258, 266)


def test_server_tools_are_kept_and_counted() -> None:
    _, answer = decoded(stream("gemini/tool_use"))
    assert [p.type for p in answer.parts] == ["vendor:gemini", "vendor:gemini", "text"]
    assert orjson.loads(answer.parts[0].text or "") == {
        "executableCode": {"language": "PYTHON", "code": "print(sum(range(51)))"}
    }
    assert counts(answer.usage) == (22 + 118, None, 100, 60)
    assert answer.usage is not None and answer.usage.tool_input == 118


def test_an_image_as_output() -> None:
    _, answer = decoded(stream("gemini/image"))
    text, image = answer.parts
    assert text.text == "Here it is."
    assert (image.type, image.media_type, image.data) == ("image", "image/png", b"\x89PNG\r\n\x1a\n")
    assert image.signature


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"), ("PROHIBITED_CONTENT", "content_filter"), ("SPII", "content_filter"),
        ("LANGUAGE", "content_filter"), ("IMAGE_SAFETY", "content_filter"), ("MODEL_ARMOR", "content_filter"),
        ("CONTINUATION", "pause"), ("A_WORD_OF_TOMORROW", "error"),
    ],
)  # fmt: skip
def test_finish_reasons(word: str, reason: str) -> None:
    _, answer = decoded(event({"text": "x"}, finish=word))
    assert (answer.finish_reason, answer.finish_reason_raw) == (reason, word)


def test_a_filtered_answer_may_be_empty() -> None:
    for name in ("gemini/safety", "vertex/filtered"):
        assert decoded(stream(name))[1].finish_reason == "content_filter"


@pytest.mark.parametrize(
    "word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "OTHER"]
)
def test_a_model_that_breaks_off_gave_no_answer(word: str) -> None:
    problem, _ = failure_of(event({"text": "I will"}, finish=word))
    error = problem.error
    assert (error.error_class, error.retriable, error.maybe_paid) == ("provider_error", True, True)
    assert word in error.message


def test_what_was_malformed_is_told() -> None:
    problem, decoder = failure_of(stream("gemini/malformed"))
    assert "print(default_api.get_weather(" in problem.error.message
    assert counts(decoder.usage) == (88, None, 31, 31)


def test_a_blocked_prompt_is_a_failure_of_the_content() -> None:
    problem, decoder = failure_of(stream("gemini/blocked"))
    error = problem.error
    assert (error.error_class, error.retriable) == ("content_filter", False)
    assert "PROHIBITED_CONTENT" in error.message
    assert counts(decoder.usage) == (14, None, 0, None)


@pytest.mark.parametrize(
    ("name", "error_class", "said"),
    [
        ("error_event", "overloaded", "The model is overloaded"),
        ("error_bare", "provider_error", "An internal error"),
    ],
)
def test_an_error_inside_a_200(name: str, error_class: str, said: str) -> None:
    problem, _ = failure_of(stream(f"gemini/{name}"))
    assert problem.error.error_class == error_class and said in problem.error.message
    assert problem.error.maybe_paid and problem.error.retriable and not problem.repeatable


def test_a_rate_limit_inside_a_200_tells_its_wait() -> None:
    body = orjson.loads((FIXTURES / "gemini/error_quota_minute.json").read_bytes())
    problem, _ = failure_of(b"data: " + orjson.dumps(body) + b"\n\n")
    assert (problem.error.error_class, problem.error.retry_after_ms) == ("rate_limited", 45_837)
    assert problem.error.maybe_paid and not problem.repeatable


@pytest.mark.parametrize("data", [b"", event({"text": "half"}), event({"text": 'it said {"error": 1}'})])
def test_no_finish_reason_is_a_failure_never_an_empty_success(data: bytes) -> None:
    problem, _ = failure_of(data)
    error = problem.error
    assert (error.error_class, error.retriable, error.maybe_paid) == ("truncated", True, True)
    assert not problem.repeatable


def test_usage_of_a_broken_stream_says_only_what_is_told() -> None:
    """The first chunks tell the prompt alone: their total is no proof that nothing was generated."""
    told = {"promptTokenCount": 9, "totalTokenCount": 9}
    _, decoder = failure_of(event({"text": "half an answer"}, usageMetadata=told))
    assert counts(decoder.usage) == (9, None, None, None)
    told = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
    _, decoder = failure_of(event({"text": "half an answer"}, usageMetadata=told))
    assert counts(decoder.usage) == (9, None, 4, None)


def test_an_empty_answer_with_a_finish_reason_is_an_answer() -> None:
    _, answer = decoded(event(finish="STOP"))
    assert answer.parts == [] and answer.usage is None


def test_other_candidates_are_passed_over() -> None:
    body = {"candidates": [{"index": 1, "content": {"parts": [{"text": "no"}]}, "finishReason": "SAFETY"},
                           {"index": 0, "content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}]}  # fmt: skip
    _, answer = decoded(b"data: " + orjson.dumps(body) + b"\n\n")
    assert (answer.parts[0].text, answer.finish_reason) == ("yes", "stop")


@pytest.mark.parametrize("listed", [False, True])
def test_a_server_that_doesn_t_stream(listed: bool) -> None:
    whole = (FIXTURES / "gemini/whole.json").read_bytes()
    tools = orjson.loads(stream("gemini/tool_use").splitlines()[0][6:])
    body = orjson.dumps([tools, orjson.loads(whole)]) if listed else whole
    decoder = GeminiAdapter().decoder("application/json; charset=UTF-8")
    assert decoder.feed(body[:30]) == [] and decoder.feed(body[30:]) == []
    assert decoder.output_bytes == len(body)
    answer = decoder.finish()
    assert answer.parts[-1].text == "All at once." and answer.finish_reason == "stop"
    assert [p.type for p in answer.parts] == (["vendor:gemini"] if listed else []) + ["text"]


@pytest.mark.parametrize(
    "junk",
    [
        b"data: {nope\n\n", b'data: {"candidates": 5}\n\n', b"data: [1]\n\n", b"data: null\n\n",
        b'data: {"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"text":"\\ud800"}]}}]}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"inlineData":{"data":"%%%"}}]}}]}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":[1]}}]}}]}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","willContinue":true}}]}}]}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"x":' + b"[" * 9999 + b"]" * 9999 + b"}]}}]}\n\n",
    ],
)  # fmt: skip
def test_what_isn_t_a_chunk_is_a_failure(junk: bytes) -> None:
    problem, _ = failure_of(junk)
    assert problem.error.error_class == "provider_error" and problem.error.maybe_paid


# prompt, candidates, tool prompt, thoughts, total -> input, output, exact
RECONCILED = [
    ((10, 5, None, None, 15), (10, 5, True)),
    ((10, 5, None, 20, 35), (10, 25, True)),
    ((10, 25, None, 20, 35), (10, 25, True)),  # thoughts among the candidates
    ((10, 5, 7, 20, 42), (17, 25, True)),
    ((10, 25, 7, 20, 42), (17, 25, True)),
    ((17, 5, 7, 20, 42), (17, 25, True)),  # tool prompts in the prompt
    ((17, 25, 7, 20, 42), (17, 25, True)),
    ((10, None, None, None, 10), (10, 0, True)),
    ((10, 5, None, None, 400), (10, 390, False)),  # thoughts that aren't told apart
    ((10, 5, None, 20, 12), (10, 25, False)),  # a total that can't be true
    ((10, 5, None, None, None), (10, 5, True)),
]


@pytest.mark.parametrize(("told", "expected"), RECONCILED)
def test_usage_is_reconciled_with_its_total(
    told: tuple[int | None, ...], expected: tuple[int, int, bool]
) -> None:
    names = (
        "promptTokenCount", "candidatesTokenCount", "toolUsePromptTokenCount", "thoughtsTokenCount", "totalTokenCount"
    )  # fmt: skip
    body = {name: n for name, n in zip(names, told, strict=True) if n is not None}
    usage = usage_of(orjson.dumps(body))
    assert (usage.input_uncached, usage.output, not usage.estimated) == expected
    assert usage.reasoning == told[3] and usage.tool_input == told[2]


@pytest.mark.parametrize(
    "usage",
    [
        {"promptTokenCount": -1, "totalTokenCount": 1},
        {"promptTokenCount": 5, "candidatesTokenCount": -5},
        {"promptTokenCount": 10**9 + 1},
        {"promptTokenCount": 5, "totalTokenCount": 10**30},
        {"promptTokenCount": 5, "cachedContentTokenCount": 6, "totalTokenCount": 5},
        {"promptTokenCount": "many"},
        {"trafficType": "ON_DEMAND"},
        {"candidatesTokenCount": 5},
    ],
)
def test_usage_that_can_t_be_true_counts_as_untold(usage: dict[str, Any]) -> None:
    raw = json.dumps(usage, separators=(",", ":"))
    assert usage_of(raw.encode()) == Usage(raw=raw)


def test_no_form_of_an_answer_is_encoded_much_longer_than_it_counts() -> None:
    """The bound of a result's size is what keeps an outcome within what a topic takes."""
    decoder = GeminiDecoder()
    for n in range(500):
        parts: list[dict[str, Any]] = [
            {"text": "ü" * (n % 5), "thought": n % 2 == 0},
            {"functionCall": {"name": "f" * (n % 7), "args": {}}, "thoughtSignature": "s" * (n % 3)},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"toolCall": {"toolType": "GOOGLE_MAPS"}},
        ]
        decoder.feed(event(*parts))
    decoder.feed(event(finish="STOP"))
    outcome = Outcome(
        event_id="", request_id="", tenant="", attempt=1, attempt_id="", tries=1, model="", status="",
        config_version="", timings=Timings(accepted_at=0), output=decoder.finish().parts,
    )  # fmt: skip
    assert len(Codec(SchemaStore()).encode(outcome)) <= decoder.output_bytes + 200


@pytest.mark.parametrize(
    "part",
    [
        {"text": "x", "thoughtSignature": "s" * 9000},
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s" * 9000},
        {"inlineData": {"mimeType": "image/png", "data": "A" * 12_000}},
        {"toolCall": {"args": "x" * 9000}},
    ],
)
def test_what_is_large_counts(part: dict[str, Any]) -> None:
    decoder = GeminiDecoder()
    decoder.feed(event(part))
    assert 9000 <= decoder.output_bytes < 9200


def test_empty_parts_are_nothing() -> None:
    _, answer = decoded(event({}, {"text": ""}, {"text": "x"}, finish="STOP"))
    assert answer.parts == [ContentPart(type="text", text="x")]


@pytest.mark.parametrize(
    ("traffic", "tier"),
    [
        ("ON_DEMAND", "standard"),
        ("ON_DEMAND_PRIORITY", "priority"),
        ("ON_DEMAND_FLEX", "flex"),
        ("PROVISIONED_THROUGHPUT", "provisioned_throughput"),
        ("TRAFFIC_TYPE_UNSPECIFIED", None),
    ],
)
def test_the_tier_that_served_is_told_as_traffic(traffic: str, tier: str | None) -> None:
    counted = {"promptTokenCount": 1, "candidatesTokenCount": 1, "trafficType": traffic}
    _, answer = decoded(event({"text": "x"}, finish="STOP", usageMetadata=counted))
    assert answer.usage is not None and answer.usage.service_tier == tier
