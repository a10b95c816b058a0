"""Cohere's v2 chat, always streamed."""

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET

from processors.providers.base import (
    Completion,
    Delta,
    Feature,
    FinishReason,
    HttpRequest,
    ProviderFailure,
)
from processors.providers.bounds import UNREADABLE
from processors.providers.cohere.request import ORIGIN, PLAN, VENDOR_PART, encode
from processors.providers.cohere.wire import (
    ERRORS,
    Content,
    Event,
    Message,
    Optional,
    ToolCall,
    error_of,
    event_decoder,
    raw_content,
    usage_of,
    whole_decoder,
)
from processors.providers.events import Events, is_whole
from processors.providers.failures import failure, http_failure, stream_failure
from processors.providers.finish import finish_reason
from processors.providers.gather import LONGEST_ID, PART_BYTES, Gather, size_of
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Usage

__all__ = ["ERRORS", "FEATURES", "CohereAdapter", "CohereDecoder"]

FEATURES: Final[Mapping[str, Feature]] = {
    "text": Feature("yes"),
    "system": Feature("yes"),
    "image_bytes": Feature("yes"),
    "image_url": Feature("yes", "where content_urls is pass"),
    "document": Feature("no", "texts for retrieval by parameters.extra.documents"),
    "audio": Feature("no"),
    "tools": Feature("yes"),
    "tool_result_media": Feature("no"),
    "tool_choice": Feature("yes", "auto, none, required; a name offers that tool alone"),
    "parallel_tools": Feature("drop", "parallel_tool_calls: false can't be told"),
    "tool_errors": Feature("drop", "say it in the text"),
    "json": Feature("yes"),
    "json_schema": Feature("yes", "always strict (strict: false by policy); not together with tools"),
    "reasoning": Feature("drop", "of the efforts none alone; reasoning_budget"),
    "reasoning_budget": Feature("yes"),
    "signatures": Feature("no", "thinking and tool plans go back to Cohere alone, unsigned"),
    "vendor_parts": Feature("yes", "blocks of other kinds are kept and sent back unchanged"),
    "citations": Feature("no", "the cited text stays, its citations are left out"),
    "temperature": Feature("yes"),
    "top_p": Feature("yes", "0.01 to 0.99"),
    "seed": Feature("yes"),
    "stop": Feature("yes", "at most 5"),
    "top_k": Feature("yes"),
    "penalties": Feature("yes", "0 to 1"),
    "cache_hints": Feature("drop", "caches by itself"),
    "service_tier": Feature(
        "drop", "there are none; parameters.extra.priority orders a customer's own calls"
    ),
    "names": Feature("drop", "messages.name can't be told"),
    "streaming": Feature("yes"),
    "usage": Feature("yes", "as billed; reasoning isn't told apart"),
    "embeddings": Feature("yes"),
    "rerank": Feature("yes"),
}
_FINISH: Final[dict[str, FinishReason]] = {
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop_sequence", "MAX_TOKENS": "length", "TOOL_CALL": "tool_call",
    "ERROR_TOXIC": "content_filter", "ERROR_LIMIT": "context_exceeded",
}  # fmt: skip
# The server says that it broke off: no answer, whatever came before.
_BROKEN_OFF: Final = frozenset({"ERROR", "TIMEOUT"})


class CohereDecoder:
    """Gathers a streamed answer, or a whole one (`whole`). Cohere doesn't tell the model's name."""

    __slots__ = (
        "_arguments", "_calls", "_events", "_finish", "_gather", "done", "usage", "vendor_model",
        "vendor_response_id",
    )  # fmt: skip

    def __init__(self, whole: bool = False) -> None:
        self.done = False
        self.usage: Usage | None = None
        self.vendor_response_id: str | None = None
        self.vendor_model: str | None = None
        self._events = Events(whole)
        self._gather = Gather()
        self._calls: dict[int, ContentPart] = {}
        self._arguments: dict[int, list[str]] = {}
        self._finish: str | None = None

    @property
    def output_bytes(self) -> int:
        """Bytes of the output so far."""
        return self._gather.size + self._events.held

    def feed(self, data: bytes) -> list[Delta]:
        """Take the next bytes. Raises ProviderFailure."""
        return self._take(self._events.feed(data))

    def finish(self) -> Completion:
        """The answer. Raises ProviderFailure without a finish reason, or with that of a failure."""
        last = self._events.close()
        if self._events.whole:
            self._read_whole(last[0])
        else:
            self._take(last)
        if self._finish is None:
            raise failure("truncated", "the stream ended without a finish reason")
        if self._finish in _BROKEN_OFF:
            raise failure("provider_error", f"the server broke the answer off ({self._finish})")
        self._gather.close()
        for place, call in self._calls.items():
            call.arguments = "".join(self._arguments[place]) or "{}"
        parts = self._gather.parts + [call for _, call in sorted(self._calls.items())]
        return Completion(
            finish_reason=finish_reason(_FINISH, self._finish, parts),
            parts=parts,
            usage=self.usage,
            vendor_response_id=self.vendor_response_id,
            vendor_model=self.vendor_model,
            finish_reason_raw=self._finish,
        )

    def _take(self, events: list[bytes]) -> list[Delta]:
        deltas: list[Delta] = []
        for event in events:
            if event == b"[DONE]":
                self.done = True
                continue
            try:
                self._event(event_decoder.decode(event), deltas)
            except UNREADABLE as error:
                raise failure("provider_error", f"the stream is not what was agreed: {error}") from error
        return deltas

    def _event(self, event: Event, deltas: list[Delta]) -> None:
        if event.type is None:
            raise stream_failure((), event.message or "an event without a type", ERRORS)
        if event.id and self.vendor_response_id is None:
            self.vendor_response_id = event.id[:LONGEST_ID]
        delta = event.delta
        if delta is None:
            return
        if delta.message is not None:
            self._message(delta.message, event.index or 0, deltas)
        if event.type == "message-end":
            self._end(delta.finish_reason, delta.usage)
            if delta.error:
                raise stream_failure((), delta.error, ERRORS)

    def _end(self, finish: str | None, usage: Optional) -> None:
        if usage is not UNSET:
            self.usage = usage_of(usage) or self.usage
        if finish:
            self._finish = finish[:LONGEST_ID]
            self.done = True

    def _read_whole(self, body: bytes) -> None:
        try:
            seen = whole_decoder.decode(body)
            if isinstance(seen.message, str):
                raise stream_failure((), seen.message, ERRORS)
            if seen.id:
                self.vendor_response_id = seen.id[:LONGEST_ID]
            if seen.message is not None:
                self._whole_message(seen.message, body)
            self._end(seen.finish_reason, seen.usage)
        except UNREADABLE as error:
            raise failure("provider_error", f"the answer is not what was agreed: {error}") from error

    def _whole_message(self, message: Message, body: bytes) -> None:
        deltas: list[Delta] = []
        if message.tool_plan:
            self._text("thinking", message.tool_plan, PLAN, deltas)
        blocks = message.content if isinstance(message.content, list) else []
        for number, block in enumerate(blocks):
            if not self._content(block, deltas):
                self._gather.add(ContentPart(type=VENDOR_PART, text=raw_content(body, number)))
        calls = message.tool_calls if isinstance(message.tool_calls, list) else []
        for place, call in enumerate(calls):
            self._tool_call(place, call, deltas)

    def _message(self, message: Message, index: int, deltas: list[Delta]) -> None:
        content = message.content
        if isinstance(content, Content):
            self._content(content, deltas)
        if message.tool_plan:
            self._text("thinking", message.tool_plan, PLAN, deltas)
        if isinstance(message.tool_calls, ToolCall):
            self._tool_call(index, message.tool_calls, deltas)

    def _content(self, content: Content, deltas: list[Delta]) -> bool:
        """Take a block; False where it is of a kind that only Cohere knows."""
        if content.thinking is not None:
            self._text("thinking", content.thinking, ORIGIN, deltas)
        if content.text is not None:
            self._text("text", content.text, None, deltas)
        return content.type in (None, "text", "thinking")

    def _text(self, kind: str, text: str, origin: str | None, deltas: list[Delta]) -> None:
        if not text:
            return
        if kind == "text":
            self._gather.text("text", text)
            deltas.append(Delta("text", text))
        else:
            self._gather.text("thinking", text, origin)
            deltas.append(Delta("thinking", text))

    def _tool_call(self, index: int, call: ToolCall, deltas: list[Delta]) -> None:
        part = self._calls.get(index)
        if part is None:
            part = self._calls[index] = ContentPart(type="tool_call")
            self._arguments[index] = []
            self._gather.size += PART_BYTES
        if call.id and part.tool_call_id is None:
            part.tool_call_id = call.id[:LONGEST_ID]
            self._gather.size += size_of(part.tool_call_id)
        function = call.function
        if function is None:
            return
        if function.name and part.tool_name is None:
            part.tool_name = function.name[:LONGEST_ID]
            self._gather.size += size_of(part.tool_name)
        if function.arguments:
            self._arguments[index].append(function.arguments)
            self._gather.size += size_of(function.arguments)
            deltas.append(Delta("tool_call", function.arguments, index))


class CohereAdapter:
    """The adapter of `kind: cohere`."""

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        """The streamed chat of a task. Raises signals.Invalid where it can't be expressed."""
        return encode(task, model)

    def decoder(self, content_type: str) -> CohereDecoder:
        """A decoder for one answer of that content type."""
        return CohereDecoder(is_whole(content_type))

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        """What an answer with an error status means."""
        codes, message = error_of(body)
        return http_failure(status, codes, message, wait_ms, ERRORS)
