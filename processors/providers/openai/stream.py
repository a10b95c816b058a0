"""Gathers an OpenAI-compatible answer: a stream of chunks, or one whole body where the server doesn't stream."""

from typing import Any, Final

import msgspec
from msgspec import UNSET

from processors.providers.base import Completion, Delta, FinishReason
from processors.providers.bounds import UNREADABLE
from processors.providers.events import Events
from processors.providers.failures import failure, stream_failure
from processors.providers.finish import finish_reason
from processors.providers.gather import LONGEST_ID, PART_BYTES, size_of
from processors.providers.openai.audio import Sound
from processors.providers.openai.errors import filtered, stream_error_of
from processors.providers.openai.messages import OPENROUTER_PART
from processors.providers.openai.presets import COMPATIBLE, Dialect, in_stream
from processors.providers.openai.wire import (
    Audio,
    Choice,
    Chunk,
    Function,
    Piece,
    ToolCall,
    chunk_decoder,
    tier_of,
    told,
    usage_of,
)
from schemas.records import ContentPart, Usage

_FILTER_PART: Final = "vendor:azure"
_FINISH: Final[dict[str, FinishReason]] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop_sequence",
    "length": "length", "model_length": "length", "tool_calls": "tool_call", "function_call": "tool_call",
    "content_filter": "content_filter",
}  # fmt: skip
# The server says that it broke off: no answer, whatever came before.
_BROKEN_OFF: Final = frozenset({"error", "abort", "insufficient_system_resource"})
Part = ContentPart


class _Call:
    """A tool call as it grows; `nth` of the answer, from 0."""

    __slots__ = ("nth", "part", "pieces")

    def __init__(self, nth: int) -> None:
        self.nth, self.part = nth, Part(type="tool_call")
        self.pieces: list[str] = []


class OpenAiDecoder:
    """The decoder of Chat Completions, in one server's dialect."""

    __slots__ = (
        "_audio", "_calls", "_details", "_dialect", "_events", "_filter", "_raw", "_refused", "_sequence",
        "_text", "_thinking", "done", "output_bytes", "usage", "vendor_model", "vendor_response_id",
    )  # fmt: skip

    def __init__(self, whole: bool = False, dialect: Dialect = COMPATIBLE) -> None:
        self.output_bytes = 0
        self.vendor_response_id: str | None = None
        self.vendor_model: str | None = None
        self.usage: Usage | None = None
        self.done = False
        self._dialect = dialect
        self._events = Events(whole)
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._audio: Sound | None = None
        self._details: list[dict[str, Any]] = []
        self._filter: bytes | None = None
        self._refused = False
        self._raw: str | None = None
        self._sequence = False

    def feed(self, data: bytes) -> list[Delta]:
        if self._events.whole:
            self.output_bytes += len(data)
        return self._take(self._events.feed(data))

    def finish(self) -> Completion:
        if self._events.whole:
            self.output_bytes = 0
        self._take(self._events.close())
        if self._raw is None:
            raise failure("truncated", "the stream ended without a finish reason")
        if self._raw in _BROKEN_OFF:
            broken = failure("overloaded", f"the server broke the answer off ({self._raw})")
            broken.usage = self.usage
            raise broken
        parts = self._parts()
        finish = finish_reason(_FINISH, self._raw, parts)
        if finish == "stop":
            finish = self._stopped_by()
        return Completion(
            finish_reason=finish,
            parts=parts,
            usage=self.usage,
            vendor_response_id=self.vendor_response_id,
            vendor_model=self.vendor_model,
            finish_reason_raw=self._raw,
        )

    def _stopped_by(self) -> FinishReason:
        """What `stop` stands for: a sequence, a call that was forced or a refusal ends so too."""
        if self._sequence:
            return "stop_sequence"
        if self._calls:
            return "tool_call"
        return "refusal" if self._refused else "stop"

    def _take(self, events: list[bytes]) -> list[Delta]:
        deltas: list[Delta] = []
        decode = chunk_decoder.decode
        for event in events:
            if event == b"[DONE]":
                self.done = True
                continue
            try:
                chunk = decode(event)
            except UNREADABLE as error:
                raise failure("provider_error", f"the stream is not what was agreed: {error}") from error
            if chunk.error is not UNSET or chunk.usage is not UNSET or chunk.x_groq is not None:
                self._rare(chunk)
            if self.vendor_response_id is None or self.vendor_model is None:
                self._named_by(chunk)
            for choice in chunk.choices or ():
                if choice.index == 0:
                    self._choice(choice, deltas)
        return deltas

    def _named_by(self, chunk: Chunk) -> None:
        if chunk.id and self.vendor_response_id is None:
            self.vendor_response_id = chunk.id[:LONGEST_ID]
        if chunk.model and self.vendor_model is None:
            self.vendor_model = chunk.model[:LONGEST_ID]

    def _rare(self, chunk: Chunk) -> None:
        """An error, or usage: wherever the server puts it."""
        apart, groq = self._dialect.reasoning_apart, chunk.x_groq
        if chunk.usage is not UNSET:
            self.usage = usage_of(chunk.usage, apart) or self.usage
        if groq is not None:
            if groq.usage is not UNSET:
                self.usage = usage_of(groq.usage, apart) or self.usage
            if groq.error:
                raise self._failed(groq.error.encode())
        if self.usage is not None:
            self.usage.service_tier = tier_of(chunk.service_tier)
        if (error := told(chunk.error)) is not None:
            raise self._failed(error)

    def _failed(self, raw: bytes) -> Exception:
        codes, message = stream_error_of(raw)
        failed = stream_failure(codes, message, in_stream(self._dialect))
        failed.usage = self.usage
        return failed

    def _choice(self, choice: Choice, deltas: list[Delta]) -> None:
        piece = choice.delta or choice.message
        if piece is not None:
            content = piece.content
            if content:
                self._text.append(content)
                self.output_bytes += len(content) if content.isascii() else len(content.encode())
                deltas.append(Delta("text", content))
            elif piece.reasoning_content or piece.reasoning:
                self._thought(piece, deltas)
            if (
                piece.tool_calls
                or piece.refusal
                or piece.audio
                or piece.function_call
                or piece.reasoning_details
            ):
                self._rare_piece(piece, deltas)
        if choice.error is not UNSET and (error := told(choice.error)) is not None:
            raise self._failed(error)
        if choice.finish_reason:
            self._raw = choice.finish_reason[:LONGEST_ID]
            self._sequence = isinstance(choice.stop_reason, str)
        if choice.content_filter_results is not UNSET:
            self._filter = told(choice.content_filter_results)

    def _thought(self, piece: Piece, deltas: list[Delta]) -> None:
        text = piece.reasoning_content or piece.reasoning or ""
        self._thinking.append(text)
        self.output_bytes += size_of(text)
        deltas.append(Delta("thinking", text))

    def _rare_piece(self, piece: Piece, deltas: list[Delta]) -> None:
        if piece.content and (piece.reasoning_content or piece.reasoning):
            self._thought(piece, deltas)
        if piece.refusal:
            self._refused = True
            self._text.append(piece.refusal)
            self.output_bytes += size_of(piece.refusal)
            deltas.append(Delta("text", piece.refusal))
        for place, call in enumerate(piece.tool_calls or ()):
            self._tool_call(place if call.index is None else call.index, call, deltas)
        if piece.function_call is not None:  # the form before tools
            self._tool_call(0, ToolCall(function=piece.function_call), deltas)
        if piece.audio is not None:
            self._sound(piece.audio, deltas)
        if piece.reasoning_details and self._dialect.reasoning_details:
            self._detail(piece.reasoning_details)

    def _tool_call(self, index: int, call: ToolCall, deltas: list[Delta]) -> None:
        known = self._calls.get(index)
        if known is None:
            known = self._calls[index] = _Call(len(self._calls))
            self.output_bytes += PART_BYTES
        part, function = known.part, call.function
        if call.id:
            part.tool_call_id = self._named(call.id, part.tool_call_id)
        if function is not None:
            if function.name:
                part.tool_name = self._named(function.name, part.tool_name)
            text = _arguments(function)
            if text:
                known.pieces.append(text)
                self.output_bytes += size_of(text)
                deltas.append(Delta("tool_call", text, known.nth))

    def _named(self, name: str, before: str | None) -> str:
        """An id or a name, cut, its size counted in place of the one that was told `before`."""
        name = name[:LONGEST_ID]
        self.output_bytes += size_of(name) - size_of(before or "")
        return name

    def _sound(self, audio: Audio, deltas: list[Delta]) -> None:
        if self._audio is None:
            self._audio = Sound()
            self.output_bytes += PART_BYTES
        self.output_bytes += self._audio.add(audio)
        if audio.data or audio.transcript:
            deltas.append(Delta("audio", audio.transcript or ""))

    def _detail(self, details: list[dict[str, Any]]) -> None:
        """Reasoning as OpenRouter tells it: pieces of one block have its type and index, and their texts join."""
        for detail in details:
            self.output_bytes += len(msgspec.json.encode(detail))
            last = self._details[-1] if self._details else None
            same = last is not None and all(last.get(key) == detail.get(key) for key in ("type", "index"))
            if last is None or not same or detail.get("type") == "reasoning.encrypted":
                self._details.append(dict(detail))
                continue
            for key, value in detail.items():
                if key in ("text", "summary") and isinstance(value, str) and isinstance(last.get(key), str):
                    last[key] += value
                elif value is not None:
                    last[key] = value

    def _parts(self) -> list[Part]:
        parts: list[Part] = []
        if self._thinking:
            parts.append(Part(type="thinking", text="".join(self._thinking)))
        if self._details:
            parts.append(Part(type=OPENROUTER_PART, text=msgspec.json.encode(self._details).decode()))
        if self._text:
            parts.append(Part(type="text", text="".join(self._text)))
        if self._audio is not None:
            parts.append(self._audio.part(streamed=not self._events.whole))
        for _, call in sorted(self._calls.items()):
            call.part.arguments = "".join(call.pieces) or "{}"
            parts.append(call.part)
        if self._raw == "content_filter" and self._filter is not None:
            parts += self._filtered(self._filter)
        return parts

    def _filtered(self, results: bytes) -> list[Part]:
        """What Azure's content filter acted on, where it says so."""
        try:
            if not filtered(msgspec.json.decode(results)):
                return []
            text = results.decode()
        except UNREADABLE:  # the answer is one without them too
            return []
        self.output_bytes += PART_BYTES + len(results)
        return [Part(type=_FILTER_PART, text=text)]


def _arguments(function: Function) -> str:
    value = function.arguments
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()
