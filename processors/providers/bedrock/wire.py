"""The part of Converse's answers that Sluice reads. Unknown fields are ignored."""

from typing import Any, Final

import msgspec

from processors.providers.anthropic.wire import phrase_code
from processors.providers.base import FinishReason
from processors.providers.bounds import LONGEST_TIER, LONGEST_USAGE, UNREADABLE, possible
from processors.providers.failures import (
    AUTH,
    CONTENT_FILTER,
    CONTEXT_EXCEEDED,
    FORBIDDEN,
    INVALID_REQUEST,
    NO_SUCH_MODEL,
    OVERLOADED,
    PROVIDER_ERROR,
    RATE_LIMITED,
    Errors,
)
from schemas.records import Usage

_NULL: Final = msgspec.Raw(b"null")

FINISH: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_call",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "model_context_window_exceeded": "context_exceeded",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
    "pause_turn": "pause",
    "refusal": "refusal",
}

# By the exception's name, in capitals as in HTTP; events of a stream begin it with a small letter.
ERRORS: Final[Errors] = {
    (None, "message:context"): CONTEXT_EXCEEDED,
    (None, "message:filter"): CONTENT_FILTER,
    (None, "message:not_ready"): OVERLOADED,
    (None, "message:credentials"): AUTH,
    (None, "ThrottlingException"): RATE_LIMITED,
    (None, "ServiceQuotaExceededException"): RATE_LIMITED,
    (None, "ModelNotReadyException"): OVERLOADED,
    (None, "ServiceUnavailableException"): OVERLOADED,
    (None, "ValidationException"): INVALID_REQUEST,
    (None, "AccessDeniedException"): FORBIDDEN,
    (None, "UnrecognizedClientException"): AUTH,
    (None, "InvalidSignatureException"): AUTH,
    (None, "ExpiredTokenException"): AUTH,
    (None, "IncompleteSignature"): AUTH,
    (None, "InvalidClientTokenId"): AUTH,
    (None, "NotAuthorized"): AUTH,
    (None, "RequestExpired"): AUTH,
    (None, "ResourceNotFoundException"): NO_SUCH_MODEL,
    (None, "ModelErrorException"): PROVIDER_ERROR,
    (None, "ModelStreamErrorException"): PROVIDER_ERROR,
    (None, "ModelTimeoutException"): PROVIDER_ERROR,
    (None, "InternalServerException"): PROVIDER_ERROR,
    (408, None): PROVIDER_ERROR,
    (424, None): PROVIDER_ERROR,
}
# The model's own words, which come as plain validation errors.
_PHRASES: Final = (
    ("input is too long", "message:context"),
    ("prompt is too long", "message:context"),
    ("exceed context limit", "message:context"),
    ("too many input tokens", "message:context"),
    ("blocked by content filtering", "message:filter"),
    ("is not ready", "message:not_ready"),
    ("security token", "message:credentials"),
)


class ToolUse(msgspec.Struct, gc=False):
    """A call of a tool; `type` is set where the vendor runs the tool itself."""

    toolUseId: str | None = None
    name: str | None = None
    type: str | None = None
    input: msgspec.Raw = _NULL


class _ToolInput(msgspec.Struct, gc=False):
    input: str = ""


class _ReasoningText(msgspec.Struct, gc=False):
    text: str | None = None
    signature: str | None = None


class Reasoning(msgspec.Struct):
    """Of a stream: text, signature or redactedContent, a piece; of a whole answer: reasoningText or redactedContent."""

    text: str | None = None
    signature: str | None = None
    redactedContent: str | None = None
    reasoningText: _ReasoningText | None = None


class _Source(msgspec.Struct, gc=False):
    bytes: str | None = None


class _Image(msgspec.Struct):
    format: str | None = None
    source: _Source | None = None


class Piece(msgspec.Struct):
    """The `delta` of a content block."""

    text: str | None = None
    toolUse: _ToolInput | None = None
    reasoningContent: Reasoning | None = None
    image: _Image | None = None
    toolResult: list[msgspec.Raw] | None = None


class Started(msgspec.Struct):
    """The `start` of a content block."""

    toolUse: ToolUse | None = None
    image: _Image | None = None
    toolResult: msgspec.Raw = _NULL


class Tier(msgspec.Struct, gc=False):
    """The service tier at which the call was served."""

    type: str | None = None


class Event(msgspec.Struct):
    """An event of a stream, whichever; what it is stands in the frame's headers."""

    contentBlockIndex: int = 0
    delta: Piece | None = None
    start: Started | None = None
    stopReason: str | None = None
    usage: msgspec.Raw = _NULL
    serviceTier: Tier | None = None
    message: str | None = None


class _Cited(msgspec.Struct, gc=False):
    text: str | None = None


class _Citations(msgspec.Struct):
    content: list[_Cited] | None = None


class Content(msgspec.Struct):
    """A content block of a whole answer: one of the fields is set."""

    text: str | None = None
    toolUse: ToolUse | None = None
    reasoningContent: Reasoning | None = None
    citationsContent: _Citations | None = None
    image: _Image | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


class _Output(msgspec.Struct):
    message: _Message | None = None


class Answer(msgspec.Struct):
    """A whole answer."""

    output: _Output | None = None
    stopReason: str | None = None
    usage: msgspec.Raw = _NULL
    serviceTier: Tier | None = None


class _CacheDetail(msgspec.Struct, gc=False):
    ttl: str | None = None
    inputTokens: int | None = None


class _Counts(msgspec.Struct):
    inputTokens: int | None = None
    outputTokens: int | None = None
    cacheReadInputTokens: int | None = None
    cacheWriteInputTokens: int | None = None
    cacheDetails: list[_CacheDetail] | None = None


event_decoder = msgspec.json.Decoder(Event)
content_decoder = msgspec.json.Decoder(Content)
answer_decoder = msgspec.json.Decoder(Answer)
_counts_decoder = msgspec.json.Decoder(_Counts)
_any_decoder = msgspec.json.Decoder()


def usage_of(raw: msgspec.Raw, tier: Tier | None = None) -> Usage | None:
    """The vendor's usage as ours, None where there is none; `inputTokens` leaves out what the cache read and wrote.

    Counts that can't be true count as not told: they would make a bill that nobody owes.
    """
    text = bytes(raw)
    if text == b"null" or len(text) > LONGEST_USAGE:
        return None
    told = text.decode(errors="replace")
    try:
        seen = _counts_decoder.decode(text)
    except UNREADABLE:
        return Usage(raw=told)
    hours = [d.inputTokens or 0 for d in seen.cacheDetails or () if d.ttl == "1h"]
    hour = sum(hours) if seen.cacheDetails is not None else None
    written = seen.cacheWriteInputTokens
    counts = (seen.inputTokens, seen.outputTokens, seen.cacheReadInputTokens, written, *hours)
    if not possible(*counts):
        return Usage(raw=told)
    return Usage(
        input_uncached=seen.inputTokens,
        cache_read=seen.cacheReadInputTokens,
        cache_write=written,
        cache_write_1h=hour if hour is None or hour <= (written or 0) else None,
        output=seen.outputTokens,
        raw=told,
        service_tier=tier.type[:LONGEST_TIER] if tier is not None and tier.type else None,
    )


def codes_of(name: str | None, message: str) -> tuple[str | None, ...]:
    """The codes of an error, the most telling first: by its message, by the exception's name."""
    code = None
    if name:
        # The name may be a shape's id with a namespace before it.
        code = name.rpartition("#")[2]
        code = code[:1].upper() + code[1:]
    return phrase_code(message, _PHRASES), code


def error_of(body: bytes) -> tuple[tuple[str | None, ...], str]:
    """(codes, message) of an error body, whatever its form. The exception's name is often in a header alone."""
    plain = body[:300].decode(errors="replace")
    try:
        seen: Any = _any_decoder.decode(body)
    except UNREADABLE:
        return codes_of(None, plain), plain
    if not isinstance(seen, dict):
        return codes_of(None, plain), plain
    name, error = seen.get("__type"), seen.get("error")
    # What stands before the vendor (a gateway) wraps its errors otherwise.
    inner = error.get("message") if isinstance(error, dict) else error
    told = (seen.get("message"), seen.get("Message"), inner)
    message = next((text for text in told if isinstance(text, str)), plain)
    return codes_of(name if isinstance(name, str) else None, message), message
