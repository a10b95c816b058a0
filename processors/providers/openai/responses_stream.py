"""Gathers an answer of OpenAI's Responses API: its events, or one whole response where the server doesn't stream."""

from typing import Final, Literal, NoReturn

from msgspec import UNSET, Raw

from processors.providers.base import Completion, Delta, FinishReason
from processors.providers.bounds import UNREADABLE
from processors.providers.events import Events
from processors.providers.failures import failure, stream_failure
from processors.providers.finish import finish_reason
from processors.providers.gather import LONGEST_ID, PART_BYTES, size_of
from processors.providers.openai.errors import ERRORS, IN_STREAM, stream_error_of
from processors.providers.openai.responses_wire import (
    Event,
    Response,
    event_decoder,
    item_decoder,
    parts_of,
    response_decoder,
)
from processors.providers.openai.wire import tier_of, told, usage_of
from schemas.records import ContentPart, Usage

Kind = Literal["text", "thinking", "tool_call"]
_TEXT: Final = "response.output_text.delta"
# Which part a delta grows.
_DELTAS: Final[dict[str, Kind]] = {
    _TEXT: "text",
    "response.refusal.delta": "text",
    "response.reasoning_summary_text.delta": "thinking",
    "response.reasoning_text.delta": "thinking",
    "response.function_call_arguments.delta": "tool_call",
}
_ENDS: Final = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_STATUSES: Final = frozenset(_ENDS.values())
_INCOMPLETE: Final[dict[str, FinishReason]] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "max_messages": "pause",
    "steered": "pause",
}
_ERRORS: Final = {**IN_STREAM, **ERRORS}


class _Growing:
    """An item: what came of it in pieces, and its parts once it is whole. A tool call is the `nth` of the answer."""

    __slots__ = ("kind", "nth", "parts", "pieces", "size")

    def __init__(self) -> None:
        self.kind = ""
        self.nth = 0
        self.pieces: list[str] = []
        self.parts: list[ContentPart] | None = None
        self.size = 0

    def told(self) -> list[ContentPart]:
        """Its parts; of one that never became whole, what came: but half a tool call is none."""
        if self.parts is not None:
            return self.parts
        if self.kind in ("", "tool_call"):
            return []
        return [ContentPart(type=self.kind, text="".join(self.pieces))]


class ResponsesDecoder:
    """The decoder of the Responses API."""

    __slots__ = ("_end", "_events", "_items", "_raw", "_refused", "done", "output_bytes", "usage",
                 "vendor_model", "vendor_response_id")  # fmt: skip

    def __init__(self, whole: bool = False) -> None:
        self.output_bytes = 0
        self.vendor_response_id: str | None = None
        self.vendor_model: str | None = None
        self.usage: Usage | None = None
        self.done = False
        self._events = Events(whole)
        self._items: dict[str | int, _Growing] = {}
        self._refused = False
        self._end: str | None = None
        self._raw: str | None = None

    def feed(self, data: bytes) -> list[Delta]:
        if self._events.whole:
            self.output_bytes += len(data)
        return self._take(self._events.feed(data))

    def finish(self) -> Completion:
        last = self._events.close()
        if self._events.whole:
            self.output_bytes = 0
            self._take_whole(last[0])
        else:
            self._take(last)
        if self._end is None:
            raise failure("truncated", "the stream ended before the response was complete")
        parts = [part for item in self._items.values() for part in item.told()]
        return Completion(
            finish_reason=self._reason(parts),
            parts=parts,
            usage=self.usage,
            vendor_response_id=self.vendor_response_id,
            vendor_model=self.vendor_model,
            finish_reason_raw=self._raw,
        )

    def _reason(self, parts: list[ContentPart]) -> FinishReason:
        if self._end != "completed":
            return finish_reason(_INCOMPLETE, self._raw or "", parts)
        if any(part.type == "tool_call" for part in parts):
            return "tool_call"
        return "refusal" if self._refused else "stop"

    def _take(self, events: list[bytes]) -> list[Delta]:
        deltas: list[Delta] = []
        decode = event_decoder.decode
        try:
            for data in events:
                if data == b"[DONE]":
                    continue
                event = decode(data)
                if event.type == _TEXT and event.delta is not None:
                    self._delta("text", event.delta, event, deltas)
                else:
                    self._event(event, deltas)
        except UNREADABLE as error:
            raise failure("provider_error", f"the stream is not what was agreed: {error}") from error
        return deltas

    def _event(self, event: Event, deltas: list[Delta]) -> None:
        kind = _DELTAS.get(event.type)
        if kind is not None:
            self._delta(kind, event.delta or "", event, deltas)
        elif event.type == "error" or event.type == "":
            self._failed(event)
        elif (item := told(event.item)) is not None:
            if event.type == "response.output_item.done":
                self._item(item, event.output_index)
            else:  # added: it keeps its place among the others
                self._growing(event.output_index, item_decoder.decode(item).id)
        elif (response := told(event.response)) is not None:
            self._response(response_decoder.decode(response), _ENDS.get(event.type))
        elif event.type in _ENDS:
            raise failure("provider_error", f"{event.type} without a response")

    def _delta(self, kind: Kind, text: str, event: Event, deltas: list[Delta]) -> None:
        item = self._growing(event.output_index, event.item_id)
        if kind == "tool_call" and item.kind != kind:
            item.nth = sum(other.kind == kind for other in self._items.values())
        item.kind = kind
        if text:
            item.pieces.append(text)
            size = size_of(text)
            item.size += size
            self.output_bytes += size
            deltas.append(Delta(kind, text, item.nth))

    def _growing(self, index: int | None, item_id: str | None) -> _Growing:
        """The item at a place of the output; some servers name it by its id alone."""
        key: str | int = index if index is not None else item_id or ""
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Growing()
            item.size = PART_BYTES
            self.output_bytes += PART_BYTES
        return item

    def _item(self, data: bytes, index: int | None) -> None:
        """An item that is whole: what it says now holds, not the pieces before."""
        seen = item_decoder.decode(data)
        item = self._growing(index, seen.id)
        item.parts, refused = parts_of(seen, data)
        self._refused = self._refused or refused
        size = sum(_size(part) for part in item.parts) or PART_BYTES
        self.output_bytes += size - item.size
        item.size = size
        item.pieces.clear()

    def _response(self, response: Response, end: str | None) -> None:
        if response.id and self.vendor_response_id is None:
            self.vendor_response_id = response.id[:LONGEST_ID]
        if response.model and self.vendor_model is None:
            self.vendor_model = response.model[:LONGEST_ID]
        if response.usage is not UNSET:
            self.usage = usage_of(response.usage) or self.usage
        if self.usage is not None:
            self.usage.service_tier = tier_of(response.service_tier)
        if end is None:
            return
        self.done = True
        status = response.status if response.status and response.status in _STATUSES else end
        if status in ("failed", "cancelled"):
            self._broken(response, status)
        self._fill(response.output or [])
        self._end = status
        reason = response.incomplete_details.reason if response.incomplete_details else None
        self._raw = (reason if status == "incomplete" and reason else status)[:LONGEST_ID]

    def _fill(self, output: list[Raw]) -> None:
        """Take items that no event told whole from the response itself."""
        if sum(item.parts is not None for item in self._items.values()) >= len(output):
            return
        for place, raw in enumerate(output):
            data = bytes(raw)
            item_id = item_decoder.decode(data).id
            known = item_id is not None and item_id in self._items
            item = self._items.get(item_id if known and item_id is not None else place)
            if item is None or item.parts is None:
                self._item(data, None if known else place)

    def _broken(self, response: Response, status: str) -> NoReturn:
        error = told(response.error)
        if error is None:
            self._raise((), f"the response {status}")
        self._raise(*stream_error_of(error))

    def _raise(self, codes: tuple[str | None, ...], message: str) -> NoReturn:
        problem = stream_failure(codes, message, _ERRORS)
        problem.usage = self.usage
        raise problem

    def _failed(self, event: Event) -> None:
        """An error event, in either of its forms; an event of no type and no error is none that is known."""
        error = told(event.error)
        if error is not None:
            self._raise(*stream_error_of(error))
        if event.type == "error":
            codes = (str(event.code),) if event.code is not None else ()
            self._raise(codes, event.message or "no message")

    def _take_whole(self, body: bytes) -> None:
        try:
            response = response_decoder.decode(body)
            if response.status is None and told(response.error) is not None:
                self._broken(response, "failed")
            end = response.status if response.status in _STATUSES else None
            self._response(response, end)
        except UNREADABLE as error:
            raise failure("provider_error", f"the answer is not what was agreed: {error}") from error


def _size(part: ContentPart) -> int:
    texts = (part.text, part.signature, part.id, part.arguments, part.tool_call_id, part.tool_name)
    return PART_BYTES + sum(size_of(text) for text in texts if text)
