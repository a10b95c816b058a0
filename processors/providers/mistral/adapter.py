"""Mistral's chat completions, always streamed. Like OpenAI's but for what `wire.py` tells."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson
from msgspec import UNSET

from processors.providers import embeddings
from processors.providers.base import (
    Completion,
    Delta,
    Feature,
    FinishReason,
    HttpRequest,
    ProviderFailure,
)
from processors.providers.bounds import UNREADABLE
from processors.providers.embeddings import Embeddings
from processors.providers.encoding import JSON_HEADERS
from processors.providers.events import Events, is_whole
from processors.providers.failures import failure, http_failure, stream_failure
from processors.providers.finish import finish_reason
from processors.providers.gather import LONGEST_ID, PART_BYTES, Gather, size_of
from processors.providers.mistral.request import ORIGIN, VENDOR_PART, encode
from processors.providers.mistral.wire import (
    ERRORS,
    Chunk,
    ContentChunk,
    Function,
    Piece,
    ToolCall,
    chunk_decoder,
    error_of,
    raw_content,
    usage_of,
)
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Usage

__all__ = ["ERRORS", "FEATURES", "MistralAdapter", "MistralDecoder", "decode_embeddings", "encode_embeddings"]

FEATURES: Final[Mapping[str, Feature]] = {
    "text": Feature("yes"),
    "system": Feature("yes"),
    "image_bytes": Feature("yes"),
    "image_url": Feature("yes", "where content_urls is pass"),
    "document": Feature("yes", "document_url, or the bytes as a data URL"),
    "audio": Feature("yes", "input only"),
    "tools": Feature("yes", "ids of other vendors' calls are mapped to Mistral's form"),
    "tool_choice": Feature("yes", "auto, none, required, a name"),
    "tool_result_media": Feature("yes", "images and documents"),
    "parallel_tools": Feature("yes"),
    "tool_errors": Feature("drop", "say it in the text"),
    "json": Feature("yes"),
    "json_schema": Feature("yes"),
    "reasoning": Feature("yes", "reasoning_effort"),
    "reasoning_budget": Feature("drop"),
    "signatures": Feature("yes", "thinking goes back to Mistral alone, signed where it is"),
    "vendor_parts": Feature("yes", "references and other chunks are kept and sent back unchanged"),
    "temperature": Feature("yes"),
    "top_p": Feature("yes"),
    "seed": Feature("yes", "random_seed"),
    "stop": Feature("yes"),
    "top_k": Feature("yes"),
    "penalties": Feature("yes"),
    "cache_hints": Feature("yes", "prompt_cache_key, of the prefix up to the last hint"),
    "service_tier": Feature("yes", "auto, standard_only"),
    "names": Feature("drop", "messages.name can't be told"),
    "streaming": Feature("yes"),
    "usage": Feature("yes", "cached input; reasoning isn't told apart"),
    "embeddings": Feature("yes"),
    "rerank": Feature("no"),
}
_FINISH: Final[dict[str, FinishReason]] = {
    "stop": "stop", "length": "length", "model_length": "context_exceeded", "tool_calls": "tool_call",
    "content_filter": "content_filter",
}  # fmt: skip
# Mistral's word for no id.
_NO_ID: Final = "null"


class MistralDecoder:
    """Gathers a streamed answer, or a whole one where the server doesn't stream (`whole`)."""

    __slots__ = (
        "_arguments", "_calls", "_events", "_finish", "_gather", "_places", "done", "usage", "vendor_model",
        "vendor_response_id",
    )  # fmt: skip

    def __init__(self, whole: bool = False) -> None:
        self.done = False
        self.usage: Usage | None = None
        self.vendor_response_id: str | None = None
        self.vendor_model: str | None = None
        self._events = Events(whole)
        self._gather = Gather()
        self._calls: list[ContentPart] = []
        self._places: dict[int, int] = {}
        self._arguments: list[list[str]] = []
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
        self._take(self._events.close())
        if self._finish is None:
            raise failure("truncated", "the stream ended without a finish reason")
        if self._finish == "error":
            raise failure("provider_error", "the server broke the answer off (error)")
        self._gather.close()
        for call, pieces in zip(self._calls, self._arguments, strict=True):
            call.arguments = "".join(pieces) or "{}"
        parts = self._gather.parts + self._calls
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
                self._chunk(chunk_decoder.decode(event), event, deltas)
            except UNREADABLE as error:
                raise failure("provider_error", f"the stream is not what was agreed: {error}") from error
        return deltas

    def _chunk(self, chunk: Chunk, event: bytes, deltas: list[Delta]) -> None:
        if chunk.usage is not UNSET:
            self.usage = usage_of(chunk.usage) or self.usage
        told = chunk.error is not UNSET and bytes(chunk.error) != b"null"
        if told or chunk.object == "error":
            codes, message = error_of(event)
            raise stream_failure(codes, message, ERRORS)
        if chunk.id and self.vendor_response_id is None:
            self.vendor_response_id = chunk.id[:LONGEST_ID]
        if chunk.model and self.vendor_model is None:
            self.vendor_model = chunk.model[:LONGEST_ID]
        for place, choice in enumerate(chunk.choices or ()):
            if choice.index == 0:
                piece = choice.delta or choice.message
                if piece is not None:
                    self._piece(piece, event, place, deltas)
                if choice.finish_reason:
                    self._finish = choice.finish_reason[:LONGEST_ID]

    def _piece(self, piece: Piece, event: bytes, place: int, deltas: list[Delta]) -> None:
        content = piece.content
        if isinstance(content, str):
            self._text(content, deltas)
        else:
            for number, one in enumerate(content or ()):
                if not self._content(one, deltas):
                    self._gather.add(ContentPart(type=VENDOR_PART, text=raw_content(event, place, number)))
        for call in piece.tool_calls or ():
            self._tool_call(call, deltas)

    def _text(self, text: str, deltas: list[Delta]) -> None:
        if text:
            self._gather.text("text", text)
            deltas.append(Delta("text", text))

    def _content(self, chunk: ContentChunk, deltas: list[Delta]) -> bool:
        """Take a chunk of a kind that is known; False where it is none."""
        if chunk.type == "text":
            self._text(chunk.text or "", deltas)
        elif chunk.type == "thinking":
            told = chunk.thinking
            text = told if isinstance(told, str) else "".join(one.text or "" for one in told or ())
            if text or chunk.signature:
                self._gather.text("thinking", text, ORIGIN)
            if text:
                deltas.append(Delta("thinking", text))
            if chunk.signature:
                self._gather.sign(chunk.signature)
        else:
            return False
        return True

    def _tool_call(self, call: ToolCall, deltas: list[Delta]) -> None:
        """A call, or more of one. Pieces that follow may come without id and without index."""
        told = call.id[:LONGEST_ID] if call.id and call.id != _NO_ID else None
        place = self._place(told, call.index)
        if place is None:
            place = self._begin(call.index)
        part = self._calls[place]
        if told is not None and part.tool_call_id is None:
            part.tool_call_id = told
            self._gather.size += size_of(told)
        function = call.function
        if function is None:
            return
        if function.name and part.tool_name is None:
            part.tool_name = function.name[:LONGEST_ID]
            self._gather.size += size_of(part.tool_name)
        text = _arguments(function)
        if text:
            self._arguments[place].append(text)
            self._gather.size += size_of(text)
            deltas.append(Delta("tool_call", text, place))

    def _place(self, told: str | None, index: int | None) -> int | None:
        """Which of the calls a piece belongs to; None where it begins a new one."""
        if told is not None:
            for place, part in enumerate(self._calls):
                if part.tool_call_id == told:
                    return place
        if index is not None:
            place_ = self._places.get(index)
            if place_ is None or told is None or self._calls[place_].tool_call_id is None:
                return place_
            return None  # another id at an index that is taken
        return len(self._calls) - 1 if told is None and self._calls else None

    def _begin(self, index: int | None) -> int:
        place = len(self._calls)
        self._calls.append(ContentPart(type="tool_call"))
        self._arguments.append([])
        self._gather.size += PART_BYTES
        if index is not None:
            self._places[index] = place
        return place


def _arguments(function: Function) -> str:
    told = function.arguments
    if told is None or isinstance(told, str):
        return told or ""
    return msgspec.json.encode(told).decode()


class MistralAdapter:
    """The adapter of `kind: mistral`."""

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        """The streamed chat completion of a task. Raises signals.Invalid where it can't be expressed."""
        return encode(task, model)

    def decoder(self, content_type: str) -> MistralDecoder:
        """A decoder for one answer of that content type."""
        return MistralDecoder(is_whole(content_type))

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        """What an answer with an error status means."""
        codes, message = error_of(body)
        return http_failure(status, codes, message, wait_ms, ERRORS)


def encode_embeddings(
    inputs: list[str], model: Model, *, dimensions: int | None = None, input_type: str | None = None
) -> HttpRequest:
    """Ask for the vectors of `inputs`. Raises signals.Invalid under `unsupported: reject` for an `input_type`."""
    dropped = Dropped(model.unsupported)
    body: dict[str, Any] = {"model": model.vendor_model, "input": inputs}
    if dimensions is not None:
        body["output_dimension"] = dimensions
    if input_type is not None:
        dropped.note("input_type", "Mistral doesn't tell queries from documents")
    return HttpRequest("POST", "/embeddings", dict(JSON_HEADERS), orjson.dumps(body), dropped.names)


def decode_embeddings(body: bytes) -> Embeddings:
    """The vectors of an answer, in the order of the inputs. Raises ProviderFailure."""
    return embeddings.decode_embeddings(body)
