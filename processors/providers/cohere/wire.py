"""The part of Cohere's v2 chat answers that Sluice reads, and what its errors mean.

A stream is events with a `type`; what grows is under `delta.message`, which begins with empty lists where later
single objects stand.
"""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from processors.providers.bounds import LONGEST_USAGE, UNREADABLE, possible
from processors.providers.failures import (
    CONTENT_FILTER,
    CONTEXT_EXCEEDED,
    PROVIDER_ERROR,
    SPEND_LIMIT,
    Errors,
)
from schemas.records import Usage

Optional = Raw | UnsetType
_MESSAGE = 300

_TOO_LONG: Final = "context_length_exceeded"
_USED_UP: Final = "quota_used_up"
ERRORS: Final[Errors] = {
    (None, _TOO_LONG): CONTEXT_EXCEEDED,
    (429, _USED_UP): SPEND_LIMIT,
    # A word in the request or in the answer is on the list of what isn't served.
    (498, None): CONTENT_FILTER,
    (499, None): PROVIDER_ERROR,
}


class Content(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    id: str | None = None
    function: Function | None = None


class Message(msgspec.Struct, gc=False):
    content: Content | list[Content] | None = None
    tool_plan: str | None = None
    tool_calls: ToolCall | list[ToolCall] | None = None


class Delta(msgspec.Struct, gc=False):
    message: Message | None = None
    finish_reason: str | None = None
    error: str | None = None
    usage: Optional = UNSET


class Event(msgspec.Struct, gc=False):
    """An event of a stream. One without a type is an error."""

    type: str | None = None
    id: str | None = None
    index: int | None = None
    delta: Delta | None = None
    message: str | None = None


class Whole(msgspec.Struct, gc=False):
    """An answer that isn't streamed."""

    id: str | None = None
    finish_reason: str | None = None
    message: Message | str | None = None
    usage: Optional = UNSET


class _Counts(msgspec.Struct, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Usage(msgspec.Struct, gc=False):
    billed_units: _Counts | None = None
    tokens: _Counts | None = None
    cached_tokens: float | None = None


class _Error(msgspec.Struct):
    message: str | None = None


class _RawMessage(msgspec.Struct):
    content: list[Raw]


class _RawWhole(msgspec.Struct):
    message: _RawMessage


event_decoder = msgspec.json.Decoder(Event)
whole_decoder = msgspec.json.Decoder(Whole)
_raw_decoder = msgspec.json.Decoder(_RawWhole)
_usage_decoder = msgspec.json.Decoder(_Usage)
_error_decoder = msgspec.json.Decoder(_Error)


def raw_content(text: bytes, number: int) -> str:
    """The JSON of a block of a whole answer's content, as it is."""
    return bytes(_raw_decoder.decode(text).message.content[number]).decode()


def usage_of(raw: Raw) -> Usage | None:
    """The vendor's usage as ours; None where there is none.

    What is billed counts (`billed_units`): `tokens` has Cohere's own preamble in it, and `cached_tokens` is a part of
    that. Where nothing is told as billed, tokens count, those from the cache apart. Counts that can't be true count as
    not told.
    """
    text = bytes(raw)
    if text == b"null":
        return None
    told = text[:LONGEST_USAGE].decode(errors="replace")
    try:
        seen = _usage_decoder.decode(text)
    except UNREADABLE:
        return Usage(raw=told)
    billed, cached = seen.billed_units, None
    if billed is None or billed.input_tokens is None:
        billed, cached = seen.tokens, seen.cached_tokens
    if billed is None:
        return Usage(raw=told)
    counts = (billed.input_tokens, billed.output_tokens, cached)
    if not possible(*counts):
        return Usage(raw=told)
    input_ = None if billed.input_tokens is None else int(billed.input_tokens) - int(cached or 0)
    if input_ is not None and input_ < 0:
        return Usage(raw=told)
    return Usage(
        input_uncached=input_,
        cache_read=None if cached is None else int(cached),
        output=None if billed.output_tokens is None else int(billed.output_tokens),
        raw=told,
    )


def error_of(body: bytes) -> tuple[tuple[str | None, ...], str]:
    """(codes, message) of an error's body. Cohere has no codes: the words of the message stand for them."""
    try:
        message = _error_decoder.decode(body).message
    except UNREADABLE:
        message = None
    if message is None:
        return (), body[:_MESSAGE].decode(errors="replace")
    text = message.lower()
    if text.startswith("too many tokens") and "max tokens must be" not in text:
        return (_TOO_LONG,), message
    return ((_USED_UP,) if "/ month" in text else ()), message
