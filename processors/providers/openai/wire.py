"""The part of an OpenAI-compatible answer that Sluice reads. Unknown fields are ignored."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from processors.providers.bounds import LONGEST_TIER, LONGEST_USAGE, UNREADABLE, possible
from schemas.records import Usage

# Present only where the server told it: the decoder then need not compare with null.
Optional = Raw | UnsetType


class Function(msgspec.Struct, gc=False):
    """`arguments` is a JSON text; some servers give the object itself."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Audio(msgspec.Struct, gc=False):
    """`data` is base64; each chunk of a stream stands for itself."""

    id: str | None = None
    data: str | None = None
    transcript: str | None = None


class Piece(msgspec.Struct, gc=False):
    """A `delta` of a stream or the `message` of a whole answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    audio: Audio | None = None
    reasoning_details: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct, gc=False):
    """`stop_reason` is vLLM's: the stop sequence that was met; `error` is OpenRouter's."""

    index: int = 0
    delta: Piece | None = None
    message: Piece | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    error: Optional = UNSET
    content_filter_results: Optional = UNSET


class XGroq(msgspec.Struct, gc=False):
    usage: Optional = UNSET
    error: str | None = None


class Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Optional = UNSET
    error: Optional = UNSET
    x_groq: XGroq | None = None
    service_tier: Optional = UNSET


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Counts(msgspec.Struct, gc=False):
    """Usage in the form of Chat Completions (`prompt_`, `completion_`) or of Responses (`input_`, `output_`)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None


chunk_decoder = msgspec.json.Decoder(Chunk)
_counts_decoder = msgspec.json.Decoder(_Counts)


def told(raw: Optional) -> bytes | None:
    """The JSON of an optional field; None where it wasn't there, or null."""
    if not isinstance(raw, Raw):
        return None
    data = bytes(raw)
    return None if data == b"null" else data


def tier_of(raw: Optional) -> str | None:
    """The service tier that a vendor tells; None where it tells none."""
    text = told(raw)
    if text is None or not 2 < len(text) <= LONGEST_TIER or b"\\" in text or text[:1] != b'"':
        return None
    return text[1:-1].decode(errors="replace")


def usage_of(raw: Optional, reasoning_apart: bool = False) -> Usage | None:
    """The vendor's usage object as ours, cached input split off; None where there is none.

    `reasoning_apart`: the server counts reasoning beside the output instead of within it, unless its total says
    otherwise. Counts that can't be true (negative, beyond measure, more cached than sent) count as not told: they
    would make a bill that nobody owes.
    """
    text = told(raw)
    if text is None or len(text) > LONGEST_USAGE:
        return None
    kept = text.decode(errors="replace")
    try:
        seen = _counts_decoder.decode(text)
    except UNREADABLE:
        return Usage(raw=kept)
    into = seen.prompt_tokens_details or seen.input_tokens_details or _InputDetails()
    out = seen.completion_tokens_details or seen.output_tokens_details or _OutputDetails()
    sent = seen.prompt_tokens if seen.prompt_tokens is not None else seen.input_tokens
    output = seen.completion_tokens if seen.completion_tokens is not None else seen.output_tokens
    cached = next((n for n in _cached(seen, into) if n is not None), None)
    written = into.cache_write_tokens
    counts = (sent, cached, written, output, out.reasoning_tokens, into.audio_tokens, into.image_tokens,
              out.audio_tokens, seen.total_tokens)  # fmt: skip
    if not possible(*counts) or (sent is not None and sent < (cached or 0)):
        return Usage(raw=kept)
    uncached, written = _billed_once(sent, cached, written)
    return Usage(
        input_uncached=uncached,
        cache_read=cached,
        cache_write=written,
        output=_whole_output(output, out.reasoning_tokens, sent, seen.total_tokens, reasoning_apart),
        reasoning=out.reasoning_tokens,
        image_input=into.image_tokens,
        audio_input=into.audio_tokens,
        audio_output=out.audio_tokens,
        raw=kept,
    )


def _billed_once(sent: int | None, cached: int | None, written: int | None) -> tuple[int | None, int | None]:
    """(neither read from a cache nor written to one, written): each token of the input is in one of them alone."""
    if sent is None:
        return None, written
    uncached = sent - (cached or 0)
    if written is None:
        return uncached, None
    written = min(written, uncached)
    return uncached - written, written


def _cached(seen: _Counts, into: _InputDetails) -> tuple[int | None, ...]:
    return into.cached_tokens, seen.prompt_cache_hit_tokens, seen.cached_tokens


def _whole_output(
    output: int | None, reasoning: int | None, sent: int | None, total: int | None, apart: bool
) -> int | None:
    """Output with reasoning in it. The total decides whether it is there already; without one, the server's way."""
    if output is None or not reasoning:
        return output
    if reasoning > output:
        apart = True
    elif total is not None and sent is not None and total in (sent + output, sent + output + reasoning):
        apart = total != sent + output
    return output + reasoning if apart else output
