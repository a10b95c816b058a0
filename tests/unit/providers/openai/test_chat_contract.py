"""Chat Completions as the vendor's own types know it: fixtures and requests parse, and lack no field."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from processors.providers.openai.adapter import OpenAiAdapter
from schemas.config import Provider
from schemas.records import ContentPart, Message, Parameters
from tests.unit.providers.openai.requests import REQUESTS, WAV
from tests.unit.providers.openai.sdk import (
    ChatCompletion,
    ChatCompletionChunk,
    CompletionCreateParamsStreaming,
    events,
    fixture,
    fixtures,
    parsed,
    strictly,
    without,
)
from tests.unit.providers.openai.tasks import body_of, text

OPENAI = OpenAiAdapter(Provider.model_validate({"kind": "openai", "api_key": "env:K"}))
STREAMS = fixtures("openai/chat_*.sse")
WHOLES = fixtures("openai/chat*.json")
COMPATIBLE = [
    name for name in fixtures("*/chat*.sse")
    if name.split("/")[0] in ("azure", "deepseek", "groq", "llama-cpp", "ollama", "openrouter", "vllm", "xai")
]  # fmt: skip
CHUNK: list[tuple[str | int, ...]] = [
    ("id",), ("object",), ("created",), ("model",), ("choices",), ("choices", 0, "index"), ("choices", 0, "delta"),
    ("choices", 0, "delta", "tool_calls", 0, "index"), ("usage", "prompt_tokens"), ("usage", "completion_tokens"),
    ("usage", "total_tokens"),
]  # fmt: skip
WHOLE: list[tuple[str | int, ...]] = [
    ("id",), ("object",), ("created",), ("model",), ("choices",), ("choices", 0, "index"), ("choices", 0, "message"),
    ("choices", 0, "finish_reason"), ("choices", 0, "message", "role"),
    ("choices", 0, "message", "tool_calls", 0, "function", "arguments"), ("choices", 0, "message", "audio", "data"),
    ("usage", "total_tokens"),
]  # fmt: skip
BODY: list[tuple[str | int, ...]] = [
    ("model",), ("messages",), ("stream",), ("messages", 0, "role"), ("tools", 0, "type"),
    ("tools", 0, "function", "name"), ("response_format", "json_schema", "name"),
    ("messages", 2, "tool_calls", 0, "id"), ("messages", 3, "tool_call_id"),
    ("messages", 0, "content", 1, "image_url", "url"), ("tool_choice", "function", "name"),
]  # fmt: skip


def chunks(name: str) -> list[Any]:
    """Events that are chunks: not errors, and not Azure's first, which has the form of none."""
    return [event for event in events(name) if "error" not in event and event.get("object")]


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_the_vendor_s(name: str) -> None:
    told = chunks(name)
    assert told and [strictly(ChatCompletionChunk, event) for event in told] == told


@pytest.mark.parametrize("name", COMPATIBLE)
def test_compatible_streams_parse_as_the_vendor_s(name: str) -> None:
    told = chunks(name)
    assert told and [parsed(ChatCompletionChunk, event)["id"] for event in told] == [e["id"] for e in told]


@pytest.mark.parametrize("name", WHOLES)
def test_whole_answers_are_the_vendor_s(name: str) -> None:
    told = orjson.loads(fixture(name))
    assert strictly(ChatCompletion, told) == told


# One of each fixture and field.
BROKEN = {
    **{
        (ChatCompletionChunk, f"{n}: {p}"): v
        for n in STREAMS
        for e in chunks(n)
        for p, v in without(e, CHUNK)
    },
    **{(ChatCompletion, f"{n}: {p}"): v for n in WHOLES for p, v in without(orjson.loads(fixture(n)), WHOLE)},
    **{
        (CompletionCreateParamsStreaming, f"{n}: {p}"): v
        for n, fields in REQUESTS.items()
        for p, v in without(body_of(OPENAI, **fields), BODY)
    },
}


@pytest.mark.parametrize(("kind", "value"), [pytest.param(k, v, id=n) for (k, n), v in BROKEN.items()])
def test_a_required_field_that_is_missing_is_seen(kind: Any, value: Any) -> None:
    with pytest.raises(ValidationError):
        parsed(kind, value)


def test_every_required_field_was_taken_away_somewhere() -> None:
    seen = {(kind, name.split(": ")[1]) for kind, name in BROKEN}
    wanted = [(ChatCompletionChunk, CHUNK), (ChatCompletion, WHOLE), (CompletionCreateParamsStreaming, BODY)]
    for kind, paths in wanted:
        for path in paths:
            assert (kind, ".".join(map(str, path))) in seen


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS)
def test_requests_are_the_vendor_s(fields: dict[str, Any]) -> None:
    body = body_of(OPENAI, **fields)
    strictly(CompletionCreateParamsStreaming, body)
    assert body["max_completion_tokens"] == 77 and "max_tokens" not in body


def test_what_only_chat_completions_have_is_the_vendor_s() -> None:
    parameters = Parameters(
        seed=1, stop=["END"], frequency_penalty=0.1, presence_penalty=0.2, extra={"verbosity": '"low"'}
    )
    spoken = ContentPart(type="audio", id="audio_1", data=b"x", text="Hello")
    messages = [
        Message(role="developer", content=[text("a"), text("b")]),
        Message(role="assistant", content=[spoken]),
        Message(role="user", content=[text("x")], name="ann"),
    ]
    body = body_of(OPENAI, messages=messages, content=[WAV], parameters=parameters)
    strictly(CompletionCreateParamsStreaming, body)
    assert body["messages"][1] == {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    assert body["messages"][3]["content"][0]["input_audio"]["format"] == "wav"
