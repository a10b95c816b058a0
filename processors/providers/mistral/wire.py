"""The part of Mistral's chat answers that Sluice reads, and what its errors mean.

The wire is like OpenAI's with differences: content may be a list of chunks (thinking among them), arguments of a tool
call may be an object, an absent id is the text "null", errors come in four forms.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from processors.providers.bounds import LONGEST_USAGE, UNREADABLE, possible
from processors.providers.failures import CONTEXT_EXCEEDED, NO_SUCH_MODEL, OVERLOADED, Errors
from schemas.records import Usage

Optional = Raw | UnsetType
_MESSAGE = 300

_TOO_LONG: Final = "context_length_exceeded"
_NO_CAPACITY: Final = "service_tier_capacity_exceeded"
ERRORS: Final[Errors] = {
    (None, _TOO_LONG): CONTEXT_EXCEEDED,
    (None, "3051"): CONTEXT_EXCEEDED,
    (None, "invalid_model"): NO_SUCH_MODEL,
    (None, "1500"): NO_SUCH_MODEL,
    # All callers together are too many, not this one: the model is busy.
    (None, _NO_CAPACITY): OVERLOADED,
    (None, "backend_out_of_capacity"): OVERLOADED,
    (None, "3505"): OVERLOADED,
}


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Inner(msgspec.Struct, gc=False):
    """What a thinking chunk holds; references among it have no text."""

    text: str | None = None


class ContentChunk(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | list[Inner] | None = None
    signature: str | None = None


class Piece(msgspec.Struct, gc=False):
    """A `delta` of a stream or the `message` of a whole answer."""

    content: str | list[ContentChunk] | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: Piece | None = None
    message: Piece | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, gc=False):
    object: str | None = None
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Optional = UNSET
    error: Optional = UNSET


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None


class _RawPiece(msgspec.Struct):
    content: list[Raw]


class _RawChoice(msgspec.Struct):
    delta: _RawPiece | None = None
    message: _RawPiece | None = None


class _RawChunk(msgspec.Struct):
    choices: list[_RawChoice]


class _Error(msgspec.Struct):
    message: Any = None
    type: str | None = None
    code: str | int | None = None
    detail: Any = None
    error: Raw | UnsetType = UNSET


chunk_decoder = msgspec.json.Decoder(Chunk)
_raw_decoder = msgspec.json.Decoder(_RawChunk)
_usage_decoder = msgspec.json.Decoder(_Usage)
_error_decoder = msgspec.json.Decoder(_Error)


def raw_content(text: bytes, choice: int, number: int) -> str:
    """The JSON of a content chunk, as it is."""
    found = _raw_decoder.decode(text).choices[choice]
    piece = found.delta or found.message
    return bytes(piece.content[number]).decode() if piece is not None else "{}"


def usage_of(raw: Raw) -> Usage | None:
    """The vendor's usage as ours, cached input split off; None where there is none.

    Counts that can't be true count as not told.
    """
    text = bytes(raw)
    if text == b"null":
        return None
    told = text[:LONGEST_USAGE].decode(errors="replace")
    try:
        seen = _usage_decoder.decode(text)
    except UNREADABLE:
        return Usage(raw=told)
    cached = seen.prompt_tokens_details.cached_tokens if seen.prompt_tokens_details is not None else None
    counts = (seen.prompt_tokens, cached, seen.completion_tokens)
    if not possible(*counts):
        return Usage(raw=told)
    uncached = None if seen.prompt_tokens is None else seen.prompt_tokens - (cached or 0)
    if uncached is not None and uncached < 0:
        return Usage(raw=told)
    return Usage(input_uncached=uncached, cache_read=cached, output=seen.completion_tokens, raw=told)


def error_of(body: bytes) -> tuple[tuple[str | None, ...], str]:
    """(codes, message) of an error, whatever its form; the most telling code first."""
    try:
        seen = _error_decoder.decode(body)
        if isinstance(seen.error, Raw):
            inner = bytes(seen.error)
            seen = _error_decoder.decode(inner) if inner.startswith(b"{") else _Error(message=inner.decode())
    except UNREADABLE:
        return (), body[:_MESSAGE].decode(errors="replace")
    told = seen.message if seen.message is not None else seen.detail
    message = told if isinstance(told, str) else msgspec.json.encode(told).decode()
    codes = [None if seen.code is None else str(seen.code), seen.type]
    if "too large for model" in message or "maximum context length" in message:
        codes.insert(0, _TOO_LONG)
    if "capacity exceeded" in message:
        codes.insert(0, _NO_CAPACITY)
    return tuple(codes), message
