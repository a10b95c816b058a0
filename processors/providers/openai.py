"""OpenAI-compatible chat completions, always streamed."""

import msgspec

from processors.providers.base import Completion, Delta, HttpRequest, ProviderFailure
from processors.providers.failures import failure, http_failure
from processors.providers.openai_request import encode
from processors.providers.openai_wire import Chunk, Piece, ToolCall, chunk_decoder, error_of, usage_of
from processors.providers.sse import SseParser, TooLong
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Usage

_LONGEST_ID = 256
# What a part takes in an outcome beside its texts.
_PART_BYTES = 40
_FINISH = {"tool_calls": "tool_call", "function_call": "tool_call"}


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class OpenAiDecoder:
    """Gathers a streamed answer, or a whole one where the server doesn't stream (`whole`)."""

    def __init__(self, whole: bool = False) -> None:
        self.output_bytes = 0
        self.vendor_response_id: str | None = None
        self.vendor_model: str | None = None
        self.usage: Usage | None = None
        self._whole: list[bytes] | None = [] if whole else None
        self._sse = SseParser()
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: dict[int, ContentPart] = {}
        self._arguments: dict[int, list[str]] = {}
        self._finish: str | None = None
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        if self._whole is not None:
            self._whole.append(data)
            self.output_bytes += len(data)
            return []
        try:
            events = self._sse.feed(data)
        except TooLong as error:
            raise failure("result_too_large", str(error), retriable=False) from error
        return self._take(events)

    def finish(self) -> Completion:
        if self._whole is not None:
            self.output_bytes = 0
            self._take([b"".join(self._whole)])
        else:
            self._take(self._sse.close())
        if self._finish is None:
            raise failure("truncated", "the stream ended without a finish reason")
        return Completion(
            finish_reason=_FINISH.get(self._finish, self._finish),
            parts=self._parts(),
            usage=self.usage,
            vendor_response_id=self.vendor_response_id,
            vendor_model=self.vendor_model,
        )

    def _take(self, events: list[bytes]) -> list[Delta]:
        deltas: list[Delta] = []
        for event in events:
            if event == b"[DONE]":
                self.done = True
                continue
            try:
                chunk = chunk_decoder.decode(event)
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                raise failure("provider_error", f"the stream is not what was agreed: {error}") from error
            self._chunk(chunk, event, deltas)
        return deltas

    def _chunk(self, chunk: Chunk, event: bytes, deltas: list[Delta]) -> None:
        if b'"error"' in event and bytes(chunk.error) != b"null":
            code, message = error_of(event)
            raise failure("provider_error", f"error inside the stream ({code}): {message}")
        if chunk.id and self.vendor_response_id is None:
            self.vendor_response_id = chunk.id[:_LONGEST_ID]
        if chunk.model and self.vendor_model is None:
            self.vendor_model = chunk.model[:_LONGEST_ID]
        if b'"usage"' in event:
            self.usage = usage_of(chunk.usage) or self.usage
        for choice in chunk.choices or ():
            if choice.index == 0:
                piece = choice.delta or choice.message
                if piece is not None:
                    self._piece(piece, deltas)
                if choice.finish_reason:
                    self._finish = choice.finish_reason[:_LONGEST_ID]

    def _piece(self, piece: Piece, deltas: list[Delta]) -> None:
        text = piece.content or piece.refusal
        if text:
            self._text.append(text)
            self.output_bytes += _size(text)
            deltas.append(Delta("text", text))
        thinking = piece.reasoning_content or piece.reasoning
        if thinking:
            self._thinking.append(thinking)
            self.output_bytes += _size(thinking)
            deltas.append(Delta("thinking", thinking))
        for place, call in enumerate(piece.tool_calls or ()):
            self._tool_call(place if call.index is None else call.index, call, deltas)

    def _tool_call(self, index: int, call: ToolCall, deltas: list[Delta]) -> None:
        part = self._calls.get(index)
        if part is None:
            part = self._calls[index] = ContentPart(type="tool_call")
            self.output_bytes += _PART_BYTES
        if call.id:
            part.tool_call_id = self._named(call.id, part.tool_call_id)
        if call.function is not None:
            if call.function.name:
                part.tool_name = self._named(call.function.name, part.tool_name)
            if call.function.arguments:
                self._arguments.setdefault(index, []).append(call.function.arguments)
                self.output_bytes += _size(call.function.arguments)
                deltas.append(Delta("tool_call", call.function.arguments))

    def _named(self, name: str, before: str | None) -> str:
        """An id or a name, cut, its size counted in place of the one that was told `before`."""
        name = name[:_LONGEST_ID]
        self.output_bytes += _size(name) - _size(before or "")
        return name

    def _parts(self) -> list[ContentPart]:
        parts: list[ContentPart] = []
        if self._thinking:
            parts.append(ContentPart(type="thinking", text="".join(self._thinking)))
        if self._text:
            parts.append(ContentPart(type="text", text="".join(self._text)))
        for index, part in sorted(self._calls.items()):
            part.arguments = "".join(self._arguments.get(index, [])) or "{}"
            parts.append(part)
        return parts


class OpenAiAdapter:
    """The adapter of `kind: openai`."""

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        return encode(task, model)

    def decoder(self, content_type: str) -> OpenAiDecoder:
        return OpenAiDecoder(whole=content_type.startswith("application/json"))

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        code, message = error_of(body)
        return http_failure(status, code, message, wait_ms)
