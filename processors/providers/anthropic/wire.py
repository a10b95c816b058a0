"""The part of Anthropic's answers that Sluice reads. Unknown fields are ignored."""

from typing import Any, Final

import msgspec

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
    SPEND_LIMIT,
    Errors,
)
from schemas.records import Usage

_NULL: Final = msgspec.Raw(b"null")

FINISH: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_call",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_exceeded",
}

# By `error.details.error_code`, by a phrase of the message where the vendor has no code, by `error.type`.
ERRORS: Final[Errors] = {
    (None, "enforced_spend_limit_reached"): SPEND_LIMIT,
    (None, "contract_spend_limit_reached"): SPEND_LIMIT,
    (None, "linked_organization_spend_limit_reached"): SPEND_LIMIT,
    (None, "linked_organization_billing_unavailable"): SPEND_LIMIT,
    (None, "organization_on_hold"): AUTH,
    (None, "ramp_limit_exceeded"): RATE_LIMITED,
    (None, "message:context"): CONTEXT_EXCEEDED,
    (None, "message:spend"): SPEND_LIMIT,
    (None, "message:filter"): CONTENT_FILTER,
    (None, "authentication_error"): AUTH,
    (None, "billing_error"): SPEND_LIMIT,
    (None, "permission_error"): FORBIDDEN,
    (None, "not_found_error"): NO_SUCH_MODEL,
    (None, "request_too_large"): CONTEXT_EXCEEDED,
    (None, "exceed_context_size_error"): CONTEXT_EXCEEDED,  # llama.cpp, which speaks this wire too
    (None, "rate_limit_error"): RATE_LIMITED,
    (None, "timeout_error"): PROVIDER_ERROR,
    (None, "api_error"): PROVIDER_ERROR,
    (None, "overloaded_error"): OVERLOADED,
}
# Any 4xx may be an `invalid_request_error`, so that its status says more; an event of a stream has none.
STREAM_ERRORS: Final[Errors] = {**ERRORS, (None, "invalid_request_error"): INVALID_REQUEST}
# A spend limit, a prompt that is too long and a filtered answer come as plain invalid requests.
_PHRASES: Final = (
    ("prompt is too long", "message:context"),
    ("exceed context limit", "message:context"),
    ("api usage limits", "message:spend"),
    ("credit balance is too low", "message:spend"),
    ("blocked by content filtering", "message:filter"),
)


class Piece(msgspec.Struct, gc=False):
    """The `delta` of a content block or of the message."""

    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class Event(msgspec.Struct):
    """An event of a stream."""

    type: str = ""
    index: int = 0
    delta: Piece | None = None
    content_block: msgspec.Raw = _NULL
    message: msgspec.Raw = _NULL
    usage: msgspec.Raw = _NULL


class Block(msgspec.Struct, gc=False):
    """A content block: whole, or as it stands when a stream begins it."""

    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: msgspec.Raw = _NULL


class Message(msgspec.Struct):
    """A message: whole, or as it stands when a stream begins it."""

    type: str = ""
    id: str | None = None
    model: str | None = None
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = _NULL


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None


event_decoder = msgspec.json.Decoder(Event)
block_decoder = msgspec.json.Decoder(Block)
message_decoder = msgspec.json.Decoder(Message)
_object_decoder = msgspec.json.Decoder(dict[str, Any])
_any_decoder = msgspec.json.Decoder()


class UsageReader:
    """Joins what the beginning of a message and its later events tell; the later counts are totals, not steps."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}

    def read(self, raw: msgspec.Raw) -> Usage | None:
        """Usage as far as it is told; None where `raw` tells nothing.

        Counts that can't be true count as not told: they would make a bill that nobody owes.
        """
        text = bytes(raw)
        if text == b"null" or len(text) > LONGEST_USAGE:
            return None
        try:
            told = _object_decoder.decode(text)
            self._told.update((name, value) for name, value in told.items() if value is not None)
            return _usage(self._told, msgspec.json.encode(self._told).decode())
        except (*UNREADABLE, OverflowError):
            return Usage(raw=text.decode(errors="replace"))


def _tier(told: dict[str, Any]) -> str | None:
    """The service tier, or the speed where it is charged like one."""
    tier = told["speed"] if told.get("speed") == "fast" else told.get("service_tier")
    return tier if isinstance(tier, str) and len(tier) <= LONGEST_TIER else None


def _usage(told: dict[str, Any], raw: str) -> Usage:
    seen = msgspec.convert(told, _Counts)
    written, output = seen.cache_creation_input_tokens, seen.output_tokens
    hour = seen.cache_creation.ephemeral_1h_input_tokens if seen.cache_creation else None
    thought = seen.output_tokens_details.thinking_tokens if seen.output_tokens_details else None
    counts = (seen.input_tokens, written, seen.cache_read_input_tokens, output, hour, thought)
    if not possible(*counts):
        return Usage(raw=raw)
    return Usage(
        input_uncached=seen.input_tokens,
        cache_read=seen.cache_read_input_tokens,
        cache_write=written,
        cache_write_1h=hour if hour is None or hour <= (written or 0) else None,
        output=output,
        reasoning=thought if thought is None or thought <= (output or 0) else None,
        raw=raw,
        service_tier=_tier(told),
    )


def error_of(body: bytes) -> tuple[tuple[str | None, ...], str]:
    """(codes, the most telling first; message) of an error body or event, whatever its form."""
    plain = body[:300].decode(errors="replace")
    try:
        seen = _any_decoder.decode(body)
    except UNREADABLE:
        return (), plain
    error = seen.get("error") if isinstance(seen, dict) else None
    if not isinstance(error, dict):
        return (), error if isinstance(error, str) else plain
    details, message = error.get("details"), error.get("message")
    code = details.get("error_code") if isinstance(details, dict) else None
    message = message if isinstance(message, str) else "no message"
    codes = (code, phrase_code(message, _PHRASES), error.get("type"))
    return tuple(value if isinstance(value, str) else None for value in codes), message


def phrase_code(message: str, phrases: tuple[tuple[str, str], ...]) -> str | None:
    """The code that stands for a phrase of an error's message, where the vendor gives no code of its own."""
    told = message.lower()
    return next((code for phrase, code in phrases if phrase in told), None)
