"""The fixtures hold what Google's own SDK would read, and we read them as it does."""

import copy
from typing import Any

import orjson
import pydantic
import pytest
from google.genai import types

from processors.providers.gemini.adapter import GeminiDecoder
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.gemini.sdk import check_error, check_stream, read_by_sdk

BROKEN = ("error_event.sse", "error_bare.sse")
STREAMS = sorted(
    f"{path.parent.name}/{path.name}"
    for vendor in ("gemini", "vertex")
    for path in (FIXTURES / vendor).glob("*.sse")
    if path.name not in BROKEN
)
STATUS = {
    "api_key": 400, "context": 400, "invalid": 400, "location": 400, "prepaid": 402, "permission": 403, "model": 404,
    "quota_minute": 429, "quota_day": 429, "internal": 500, "overloaded": 503, "deadline": 504,
}  # fmt: skip
FAILS = (pydantic.ValidationError, AssertionError)


def chunks(name: str) -> list[dict[str, Any]]:
    lines = (FIXTURES / name).read_bytes().splitlines()
    return [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


def without(value: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """A copy that lacks the field at `path`."""
    out = copy.deepcopy(value)
    at: Any = out
    *way, last = path.split(".")
    for step in way:
        at = at[int(step) if step.lstrip("-").isdigit() else step]
    del at[last]
    return out


@pytest.mark.parametrize("name", STREAMS)
def test_streams(name: str) -> None:
    check_stream(chunks(name))


def test_the_whole_answer() -> None:
    check_stream([orjson.loads((FIXTURES / "gemini/whole.json").read_bytes())])


@pytest.mark.parametrize(("name", "status"), STATUS.items())
def test_errors(name: str, status: int) -> None:
    check_error(status, orjson.loads((FIXTURES / f"gemini/error_{name}.json").read_bytes()))


@pytest.mark.parametrize(("name", "status"), [("exhausted", 429), ("unauthenticated", 401)])
def test_errors_of_vertex(name: str, status: int) -> None:
    check_error(status, orjson.loads((FIXTURES / f"vertex/error_{name}.json").read_bytes()))


@pytest.mark.parametrize("field", ["code", "message", "status"])
def test_an_error_without_a_required_field_is_none(field: str) -> None:
    body = orjson.loads((FIXTURES / "gemini/error_api_key.json").read_bytes())
    del body["error"][field]
    with pytest.raises(FAILS):
        check_error(400, body)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini/text.sse", "0.candidates"),
        ("gemini/text.sse", "0.responseId"),
        ("gemini/text.sse", "0.modelVersion"),
        ("gemini/text.sse", "0.usageMetadata"),
        ("gemini/text.sse", "-1.usageMetadata.promptTokenCount"),
        ("gemini/text.sse", "-1.usageMetadata.totalTokenCount"),
        ("gemini/text.sse", "-1.candidates.0.finishReason"),
        ("gemini/text.sse", "0.candidates.0.content"),
        ("gemini/text.sse", "0.candidates.0.content.role"),
        ("gemini/text.sse", "0.candidates.0.content.parts"),
        ("gemini/text.sse", "0.candidates.0.content.parts.0.text"),
        ("gemini/tools.sse", "0.candidates.0.content.parts.0.functionCall.name"),
        ("gemini/image.sse", "1.candidates.0.content.parts.0.inlineData.mimeType"),
        ("gemini/image.sse", "1.candidates.0.content.parts.0.inlineData.data"),
        ("gemini/tool_use.sse", "0.candidates.0.content.parts.0.executableCode.code"),
        ("gemini/blocked.sse", "0.promptFeedback.blockReason"),
    ],
)
def test_a_chunk_without_a_required_field_is_none(name: str, path: str) -> None:
    told = chunks(name)
    check_stream(told)
    with pytest.raises(FAILS):
        check_stream(without(told, path))


def test_a_field_that_google_doesn_t_know_is_none() -> None:
    told = chunks("gemini/text.sse")
    told[0]["candidates"][0]["reasoning"] = "x"
    with pytest.raises(FAILS):
        check_stream(told)


@pytest.mark.parametrize(
    "name", [name for name in STREAMS if "blocked" not in name and "malformed" not in name]
)
def test_we_read_what_the_sdk_reads(name: str) -> None:
    stream = (FIXTURES / name).read_bytes()
    seen = list(read_by_sdk(stream, vertex=name.startswith("vertex")))
    parts = [part for chunk in seen for part in _parts(chunk)]
    decoder = GeminiDecoder()
    decoder.feed(stream)
    answer = decoder.finish()
    ours = answer.parts
    assert joined(ours, "text") == "".join(p.text for p in parts if p.text and not p.thought)
    assert joined(ours, "thinking") == "".join(p.text for p in parts if p.text and p.thought)
    calls = [part for part in ours if part.type == "tool_call"]
    theirs = [part.function_call for part in parts if part.function_call is not None]
    assert [(c.tool_name, orjson.loads(c.arguments or "")) for c in calls] == [
        (c.name, c.args) for c in theirs
    ]
    assert sorted(p.signature for p in ours if p.signature) == sorted(_signatures(parts))
    assert answer.vendor_response_id == seen[0].response_id
    last = seen[-1]
    assert last.candidates and last.candidates[0].finish_reason
    assert answer.finish_reason_raw == last.candidates[0].finish_reason.value
    assert answer.usage is not None and last.usage_metadata is not None
    total = (answer.usage.input_uncached or 0) + (answer.usage.cache_read or 0) + (answer.usage.output or 0)
    assert total == last.usage_metadata.total_token_count


def _parts(chunk: types.GenerateContentResponse) -> list[types.Part]:
    content = chunk.candidates[0].content if chunk.candidates else None
    return (content.parts or []) if content is not None else []


def _signatures(parts: list[types.Part]) -> list[str]:
    import base64

    return [base64.b64encode(p.thought_signature).decode() for p in parts if p.thought_signature]


def joined(parts: Any, kind: str) -> str:
    return "".join(part.text or "" for part in parts if part.type == kind)
