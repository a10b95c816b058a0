"""What OpenAI and the servers that speak like it mean by an error: its codes and message, whatever its form."""

from typing import Any, Final

import msgspec

from processors.providers.bounds import UNREADABLE
from processors.providers.failures import (
    CONTENT_FILTER,
    CONTEXT_EXCEEDED,
    INVALID_REQUEST,
    OVERLOADED,
    RATE_LIMITED,
    SPEND_LIMIT,
    Errors,
)

_MESSAGE = 300

# OpenAI, Chat Completions and Responses. Of several codes the first that is known counts.
ERRORS: Final[Errors] = {
    (None, "context_length_exceeded"): CONTEXT_EXCEEDED,
    (None, "content_filter"): CONTENT_FILTER,
    (None, "rate_limit_exceeded"): RATE_LIMITED,
    (None, "insufficient_quota"): SPEND_LIMIT,
    (None, "billing_hard_limit_reached"): SPEND_LIMIT,
    (None, "billing_not_active"): SPEND_LIMIT,
    (None, "account_deactivated"): SPEND_LIMIT,
    (None, "invalid_prompt"): CONTENT_FILTER,
    (None, "bio_policy"): CONTENT_FILTER,
    (None, "misalignment_policy_violation"): CONTENT_FILTER,
    (None, "image_content_policy_violation"): CONTENT_FILTER,
    (None, "string_above_max_length"): CONTEXT_EXCEEDED,
}
# Inside a stream there is no status: only there does so general a type decide.
IN_STREAM: Final[Errors] = {
    (None, "invalid_request_error"): INVALID_REQUEST,
    (None, "overloaded_error"): OVERLOADED,
}
# Servers without a code of their own for it say it in these words. The last: more than a minute's limit at once.
_TOO_LONG: Final = (
    "maximum context length", "context length exceeded", "context_length_exceeded", "available context size",
    "exceeds the context window", "context window", "longer than the maximum model length",
    "prompt is too long", "request too large for",
)  # fmt: skip


class _Inner(msgspec.Struct):
    code: str | None = None
    content_filter_result: Any = None


class _Error(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
    innererror: _Inner | None = None
    metadata: dict[str, Any] | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
    detail: Any = None


_decoder = msgspec.json.Decoder(_ErrorBody)
_error_decoder = msgspec.json.Decoder(_Error | str)


def error_of(body: bytes) -> tuple[tuple[str | None, ...], str]:
    """(codes, message) of an error's body. The codes are the vendor's words for it, the most telling first."""
    try:
        seen = _decoder.decode(body)
    except UNREADABLE:
        return (), _cut(body)
    if isinstance(seen.error, _Error):
        return _codes(seen.error), _message(seen.error)
    flat = _Error(seen.error or seen.message or _detail(seen.detail), seen.code, seen.type)
    return _codes(flat), flat.message or _cut(body)


def stream_error_of(raw: bytes) -> tuple[tuple[str | None, ...], str]:
    """(codes, message) of the `error` of an event."""
    try:
        seen = _error_decoder.decode(raw)
    except UNREADABLE:
        return (), _cut(raw)
    if isinstance(seen, str):
        seen = _Error(seen)
    return _codes(seen), _message(seen)


def _codes(error: _Error) -> tuple[str | None, ...]:
    code = None if error.code is None else str(error.code)
    found = [code, error.type]
    if error.innererror is not None:
        found.append(error.innererror.code)
    if error.metadata and "reasons" in error.metadata:  # OpenRouter: what the moderation flagged
        found.insert(0, "content_filter")
    text = (error.message or "").lower()
    if any(words in text for words in _TOO_LONG):
        found.insert(0, "context_length_exceeded")
    return tuple(found)


def _message(error: _Error) -> str:
    text = error.message or "no message"
    if error.innererror is not None:
        names = filtered(error.innererror.content_filter_result)
        if names:
            text = f"{text} (content filter: {', '.join(names)})"
    return text


def filtered(results: Any) -> list[str]:
    """The categories that Azure's content filter acted on, as `hate (high)`, `jailbreak`."""
    if not isinstance(results, dict):
        return []
    names: list[str] = []
    for name, found in results.items():
        if isinstance(found, dict) and (found.get("filtered") is True or found.get("detected") is True):
            severity = found.get("severity")
            names.append(f"{name} ({severity})" if isinstance(severity, str) else str(name))
    return names


def _detail(detail: Any) -> str | None:
    """FastAPI's form of an error: a text, or a list of what is wrong where."""
    if detail is None or isinstance(detail, str):
        return detail
    return msgspec.json.encode(detail).decode()[:_MESSAGE]


def _cut(body: bytes) -> str:
    return body[:_MESSAGE].decode(errors="replace")
