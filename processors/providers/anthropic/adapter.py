"""Anthropic's Messages API, always streamed."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
import orjson

from processors.providers.anthropic.content import ORIGIN, VENDOR_PART
from processors.providers.anthropic.request import encode
from processors.providers.anthropic.wire import (
    ERRORS,
    FINISH,
    STREAM_ERRORS,
    Block,
    Event,
    Piece,
    UsageReader,
    block_decoder,
    error_of,
    event_decoder,
    message_decoder,
)
from processors.providers.base import Completion, Delta, Feature, HttpRequest, ProviderFailure
from processors.providers.bounds import UNREADABLE
from processors.providers.events import Events, is_whole
from processors.providers.failures import failure, http_failure, stream_failure
from processors.providers.finish import finish_reason
from processors.providers.gather import LONGEST_ID, PART_BYTES, size_of
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Usage

__all__ = ["ERRORS", "FEATURES", "AnthropicAdapter", "AnthropicDecoder"]

_BYTES_PER_TOKEN = 4

FEATURES: Final[Mapping[str, Feature]] = {
    "text": Feature("yes"),
    "system": Feature("yes"),
    "image_bytes": Feature("yes", "JPEG, PNG, GIF and WebP"),
    "image_url": Feature("yes", "the vendor fetches it where the provider has content_urls: pass"),
    "document": Feature("yes", "PDF and plain text"),
    "audio": Feature("no"),
    "tools": Feature("yes"),
    "tool_choice": Feature("yes", "auto, none, required, a name; auto and none alone beside reasoning"),
    "parallel_tools": Feature("yes"),
    "tool_result_media": Feature("yes", "images and documents"),
    "tool_errors": Feature("yes", "is_error"),
    "json": Feature("drop", "the vendor wants a schema"),
    "json_schema": Feature("yes", "output_config.format, from Claude 4.5; always strict (strict: false by policy)"),
    "reasoning": Feature("yes", "effort from Claude Opus 4.5"),
    "reasoning_budget": Feature("yes", "to Claude 4.6"),
    "signatures": Feature("yes", "thinking and redacted_thinking go back unchanged"),
    "citations": Feature("no", "the cited text stays, its citations are left out"),
    "vendor_parts": Feature("yes", "blocks of server tools are kept and sent back unchanged"),
    "temperature": Feature("yes", "0 to 1; not from Claude 4.7, nor beside reasoning"),
    "top_p": Feature("yes", "not from Claude 4.7"),
    "top_k": Feature("yes", "not from Claude 4.7, nor beside reasoning"),
    "stop": Feature("yes"),
    "seed": Feature("drop"),
    "penalties": Feature("drop"),
    "names": Feature("drop", "messages.name can't be told"),
    "cache_hints": Feature("yes", "ephemeral, ephemeral_5m, ephemeral_1h; the last four of a request"),
    "service_tier": Feature("yes", "auto, default, standard_only"),
    "streaming": Feature("yes"),
    "usage": Feature("yes", "cache writes of an hour apart, reasoning where told"),
    "embeddings": Feature("no"),
    "rerank": Feature("no"),
}  # fmt: skip


class _Open:
    """A content block as it grows. `kind`: that of its deltas; None for one that isn't told as it comes."""

    __slots__ = ("input", "kind", "part", "pieces", "raw")

    def __init__(
        self,
        part: ContentPart,
        kind: Literal["text", "thinking", "tool_call"] | None,
        raw: bytes = b"",
        given: bytes = b"null",
    ) -> None:
        self.part, self.kind, self.raw, self.input = part, kind, raw, given
        self.pieces: list[str] = []

    def closed(self) -> ContentPart:
        """The part, from its pieces."""
        part, whole = self.part, "".join(self.pieces)
        if part.type == "tool_call":
            part.arguments = whole or (self.input.decode() if self.input != b"null" else "{}")
        elif part.type == VENDOR_PART:
            part.text = self._vendor(whole)
        elif part.type != "redacted_thinking":
            part.text = whole
        return part

    def _vendor(self, pieces: str) -> str:
        """The vendor's block with the input that came in pieces; as it began where they are no JSON (cut off)."""
        if pieces:
            try:
                block = orjson.loads(self.raw)
                block["input"] = orjson.loads(pieces)
                return orjson.dumps(block).decode()
            except (orjson.JSONDecodeError, TypeError):
                pass
        return self.raw.decode()


class AnthropicDecoder:
    """Gathers a streamed message, or a whole one where the server doesn't stream (`whole`)."""

    def __init__(self, whole: bool = False) -> None:
        self.output_bytes = 0
        self.vendor_response_id: str | None = None
        self.vendor_model: str | None = None
        self.usage: Usage | None = None
        self.done = False
        self._events = Events(whole)
        self._blocks: dict[int, _Open] = {}
        self._counts = UsageReader()
        self._finish: str | None = None

    def feed(self, data: bytes) -> list[Delta]:
        if self._events.whole:
            self.output_bytes += len(data)
        return self._take(self._events.feed(data))

    def finish(self) -> Completion:
        try:
            last = self._events.close()
            if self._events.whole:
                self._take_whole(last[0])
            else:
                self._take(last)
            if self._finish is None:
                raise failure("truncated", "the stream ended without a stop reason")
            parts = [block.closed() for _, block in sorted(self._blocks.items())]
        except UNREADABLE as error:
            raise _not_agreed(error) from error
        return Completion(
            finish_reason=finish_reason(FINISH, self._finish, parts),
            parts=parts,
            usage=self.usage,
            vendor_response_id=self.vendor_response_id,
            vendor_model=self.vendor_model,
            finish_reason_raw=self._finish,
        )

    def _take(self, events: list[bytes]) -> list[Delta]:
        deltas: list[Delta] = []
        decode = event_decoder.decode
        try:
            for event in events:
                seen = decode(event)
                if seen.type == "content_block_delta":
                    if seen.delta is not None:
                        self._grow(seen.index, seen.delta, deltas)
                else:
                    self._other(seen, event, deltas)
        except UNREADABLE as error:
            raise _not_agreed(error) from error
        finally:
            self._estimate()
        return deltas

    def _estimate(self) -> None:
        """The vendor tells the output at the end: until then it is what has come so far."""
        if self.usage is not None and self.usage.estimated:
            came = -(-self.output_bytes // _BYTES_PER_TOKEN)
            self.usage.output = max(self.usage.output or 0, came)

    def _other(self, seen: Event, event: bytes, deltas: list[Delta]) -> None:
        match seen.type:
            case "content_block_start":
                self._start(seen.index, seen.content_block, deltas)
            case "message_start":
                self._begin(seen.message)
            case "message_delta":
                if seen.delta is not None and seen.delta.stop_reason:
                    self._finish = seen.delta.stop_reason[:LONGEST_ID]
                self.usage = self._counts.read(seen.usage) or self.usage
            case "message_stop":
                self.done = True
            case "error":
                codes, message = error_of(event)
                raise stream_failure(codes, message, STREAM_ERRORS)

    def _begin(self, raw: msgspec.Raw) -> None:
        message = message_decoder.decode(raw)
        self._named(message.id, message.model)
        self.usage = self._counts.read(message.usage)
        if self.usage is not None and self.usage.input_uncached is not None:
            self.usage.estimated = True

    def _named(self, response_id: str | None, model: str | None) -> None:
        self.vendor_response_id = response_id[:LONGEST_ID] if response_id else None
        self.vendor_model = model[:LONGEST_ID] if model else None

    def _take_whole(self, body: bytes) -> None:
        self.output_bytes = 0
        message = message_decoder.decode(body)
        if message.type == "error":
            codes, text = error_of(body)
            raise stream_failure(codes, text, STREAM_ERRORS)
        self._named(message.id, message.model)
        self.usage = self._counts.read(message.usage)
        for index, raw in enumerate(message.content or ()):
            self._start(index, raw, [])
        self._finish = message.stop_reason[:LONGEST_ID] if message.stop_reason else None

    def _start(self, index: int, raw: msgspec.Raw, deltas: list[Delta]) -> None:
        """Open a block with what it begins with; for a whole message that is all of it."""
        seen = block_decoder.decode(raw)
        block = self._blocks[index] = _opened(seen, bytes(raw))
        part = block.part
        self.output_bytes += PART_BYTES + len(block.raw)
        for text in (part.tool_call_id, part.tool_name, part.signature, part.id):
            if text:
                self.output_bytes += size_of(text)
        if part.type == "tool_call":
            self.output_bytes += len(block.input)
        if block.kind != "text":
            # The model is at work, though it may say nothing for long: hidden thinking, an argument, a search.
            deltas.append(Delta(block.kind or "thinking", ""))
        self._grow(index, Piece(text=seen.text, thinking=seen.thinking), deltas)

    def _grow(self, index: int, piece: Piece, deltas: list[Delta]) -> None:
        block = self._blocks.get(index)
        if block is None:
            # Some compatible servers don't announce a block.
            begun = Block(type="thinking" if piece.thinking is not None else "text")
            block = self._blocks[index] = _opened(begun, b"")
            self.output_bytes += PART_BYTES
        if block.kind == "text":
            text = piece.text
        elif block.kind == "thinking":
            text = piece.thinking
            if piece.signature:
                block.part.signature = (block.part.signature or "") + piece.signature
                self.output_bytes += size_of(piece.signature)
        else:
            text = piece.partial_json
        if text:
            block.pieces.append(text)
            self.output_bytes += size_of(text)
            if block.kind is not None:
                deltas.append(Delta(block.kind, text, index if block.kind == "tool_call" else 0))


def _opened(seen: Block, raw: bytes) -> _Open:
    match seen.type:
        case "text":
            return _Open(ContentPart(type="text"), "text")
        case "thinking":
            part = ContentPart(type="thinking", signature=seen.signature or None, id=ORIGIN)
            return _Open(part, "thinking")
        case "redacted_thinking":
            return _Open(ContentPart(type="redacted_thinking", signature=seen.data, id=ORIGIN), None)
        case "tool_use":
            part = ContentPart(type="tool_call", tool_call_id=(seen.id or "")[:LONGEST_ID])
            part.tool_name = (seen.name or "")[:LONGEST_ID]
            return _Open(part, "tool_call", given=bytes(seen.input))
        case _:
            return _Open(ContentPart(type=VENDOR_PART), None, raw)


def _not_agreed(error: Exception) -> ProviderFailure:
    return failure("provider_error", f"the stream is not what was agreed: {error}")


class AnthropicAdapter:
    """The adapter of `kind: anthropic`."""

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        return encode(task, model)

    def decoder(self, content_type: str) -> AnthropicDecoder:
        return AnthropicDecoder(is_whole(content_type))

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        codes, message = error_of(body)
        return http_failure(status, codes, message, wait_ms, ERRORS)
