"""A finish reason that nobody here knows is never taken for a clean end, whoever the vendor is."""

from typing import Any

import orjson
import pytest

from processors.providers.base import Completion, ProviderFailure
from tests.provider_kinds import KINDS
from tests.unit.providers.bedrock.shapes import frame

WORD = "something_new"


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: " + str(e.get("type", "x")).encode() + b"\ndata: " + orjson.dumps(e) + b"\n\n"
        for e in events
    )


def chat(text: str | None) -> bytes:
    delta = {"content": text} if text else {}
    return sse({"choices": [{"index": 0, "delta": delta, "finish_reason": WORD}]})


def responses(text: str | None) -> bytes:
    said = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": text}]}
    response = {
        "status": "incomplete",
        "incomplete_details": {"reason": WORD},
        "output": [said] if text else [],
    }
    return sse({"type": "response.incomplete", "response": response})


def anthropic(text: str | None) -> bytes:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": text}}
    return sse(
        {"type": "message_start", "message": {}},
        *([block] if text else []),
        {"type": "message_delta", "delta": {"stop_reason": WORD}},
    )


def gemini(text: str | None) -> bytes:
    content = {"parts": [{"text": text}]} if text else {}
    return sse({"candidates": [{"content": content, "finishReason": WORD}]})


def bedrock(text: str | None) -> bytes:
    said = orjson.dumps({"contentBlockIndex": 0, "delta": {"text": text}})
    stop = frame("messageStop", orjson.dumps({"stopReason": WORD}))
    return (frame("contentBlockDelta", said) if text else b"") + stop


def cohere(text: str | None) -> bytes:
    said = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}
    return sse(*([said] if text else []), {"type": "message-end", "delta": {"finish_reason": WORD}})


WIRES = {
    "openai-responses": responses, "anthropic": anthropic, "gemini": gemini, "vertex": gemini, "bedrock": bedrock,
    "cohere": cohere,
}  # fmt: skip


def ended(name: str, text: str | None) -> Completion:
    decoder = KINDS[name].adapter.decoder("text/event-stream")
    decoder.feed(WIRES.get(name, chat)(text))
    return decoder.finish()


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_word_beside_an_answer_is_an_error_with_the_word(name: str) -> None:
    answer = ended(name, "So far")
    assert (answer.finish_reason, answer.finish_reason_raw) == ("error", WORD)
    assert [part.text for part in answer.parts] == ["So far"]


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_word_without_an_answer_is_a_failure(name: str) -> None:
    with pytest.raises(ProviderFailure) as failed:
        ended(name, None)
    error = failed.value.error
    assert (error.error_class, error.maybe_paid, failed.value.repeatable) == ("provider_error", True, False)
    assert WORD in error.message
