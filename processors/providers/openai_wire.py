"""The part of an OpenAI-compatible answer that Sluice reads. Unknown fields are ignored."""

import msgspec

from schemas.records import Usage


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Piece(msgspec.Struct):
    """A `delta` of a stream or the `message` of a whole answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    index: int = 0
    delta: Piece | None = None
    message: Piece | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None


_LONGEST_USAGE = 16 * 1024
_MOST_TOKENS = 10**9
# What reading hostile JSON raises: not JSON, not of this form, no UTF-8, nested without end.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

chunk_decoder = msgspec.json.Decoder(Chunk)
_usage_decoder = msgspec.json.Decoder(_Usage)
_error_decoder = msgspec.json.Decoder(_ErrorBody)


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """The vendor's usage object as ours, cached input split off; None where there is none.

    Counts that can't be true (negative, beyond measure, more cached than sent) count as not told: they would
    make a bill that nobody owes.
    """
    text = bytes(raw)
    if text == b"null" or len(text) > _LONGEST_USAGE:
        return None
    told = text.decode(errors="replace")
    try:
        seen = _usage_decoder.decode(text)
    except _UNREADABLE:
        return Usage(raw=told)
    cached = seen.prompt_tokens_details.cached_tokens if seen.prompt_tokens_details else None
    reasoning = seen.completion_tokens_details.reasoning_tokens if seen.completion_tokens_details else None
    counts = (seen.prompt_tokens, cached, seen.completion_tokens, reasoning)
    if not all(count is None or 0 <= count <= _MOST_TOKENS for count in counts):
        return Usage(raw=told)
    uncached = None if seen.prompt_tokens is None else seen.prompt_tokens - (cached or 0)
    if uncached is not None and uncached < 0:
        return Usage(raw=told)
    return Usage(
        input_uncached=uncached,
        cache_read=cached,
        output=seen.completion_tokens,
        reasoning=reasoning,
        raw=told,
    )


def error_of(body: bytes) -> tuple[str | None, str]:
    """(code, message) of an error body, whatever its form."""
    try:
        seen = _error_decoder.decode(body)
    except _UNREADABLE:
        return None, body[:300].decode(errors="replace")
    if isinstance(seen.error, str):
        return None, seen.error
    if seen.error is None:
        return None, seen.message or body[:300].decode(errors="replace")
    code = seen.error.code if seen.error.code is not None else seen.error.type
    return (None if code is None else str(code)), seen.error.message or "no message"
