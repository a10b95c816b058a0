"""Google's `generateContent` answers decoded, as they come from the Gemini API and from Vertex AI."""

import base64
import binascii
import hashlib
import re
from typing import Final

import msgspec

from processors.providers.base import Completion, Delta, FinishReason, ProviderFailure
from processors.providers.bounds import UNREADABLE
from processors.providers.events import Events
from processors.providers.failures import failure, stream_failure
from processors.providers.finish import finish_reason
from processors.providers.gather import LONGEST_ID, Gather
from processors.providers.gemini.contents import MADE_ID, ORIGIN, VENDOR_PART
from processors.providers.gemini.errors import ERRORS, error_of, read_error
from processors.providers.gemini.wire import (
    NO_RAW,
    Blob,
    Candidate,
    Chunk,
    FunctionCall,
    Part,
    chunk_decoder,
    chunks_decoder,
    raw_part,
    usage_of,
)
from schemas.records import ContentPart, Usage

_FINISH: Final[dict[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "pause",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION",
            "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
        ),
        "content_filter",
    ),
}  # fmt: skip
# The model broke off: no answer, whatever came before; as words that nobody knows are without one.
_BROKEN_OFF: Final = frozenset({
    "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OTHER",
})  # fmt: skip
# As much of the end of a stream as is looked through for an error that isn't an event.
_TAIL_BYTES: Final = 8 * 1024
_BARE_ERROR: Final = re.compile(rb'\{\s*"error"\s*:')


class GeminiDecoder:
    """Gathers a streamed answer, or a whole one (`whole`): an object, or the list of a stream's objects."""

    __slots__ = (
        "_calls", "_events", "_finish", "_gather", "_message", "_tail", "_usage", "done",
        "vendor_model", "vendor_response_id",
    )  # fmt: skip

    def __init__(self, whole: bool = False) -> None:
        self.done = False
        self.vendor_response_id: str | None = None
        self.vendor_model: str | None = None
        self._events = Events(whole)
        self._gather = Gather()
        self._calls = 0
        self._finish: str | None = None
        self._message: str | None = None
        self._usage: msgspec.Raw = NO_RAW
        self._tail = bytearray()

    @property
    def output_bytes(self) -> int:
        return self._gather.size or self._events.held

    @property
    def usage(self) -> Usage | None:
        """What the last chunk told; read when it is asked for, as each chunk tells it anew."""
        if self._usage is NO_RAW:
            return None
        whole = self._finish is not None or self._gather.size == 0
        return usage_of(bytes(self._usage), whole=whole)

    def feed(self, data: bytes) -> list[Delta]:
        events = self._events.feed(data)
        if self._events.whole:
            return []
        self._tail += data
        if len(self._tail) > 8 * _TAIL_BYTES:
            del self._tail[:-_TAIL_BYTES]
        return self._take(events)

    def finish(self) -> Completion:
        last = self._events.close()
        if self._events.whole:
            self._read_whole(last[0])
        else:
            self._take(last)
        self._gather.close()
        if self._finish is None:
            self._unfinished()
        return self._completion(self._finish or "")

    def _completion(self, word: str) -> Completion:
        parts = self._gather.parts
        reason = finish_reason(_FINISH, word, () if word in _BROKEN_OFF else parts, self._message)
        if reason == "stop" and self._calls:
            reason = "tool_call"
        return Completion(
            finish_reason=reason,
            parts=parts,
            usage=self.usage,
            vendor_response_id=self.vendor_response_id,
            vendor_model=self.vendor_model,
            finish_reason_raw=word,
        )

    def _read_whole(self, body: bytes) -> None:
        deltas: list[Delta] = []
        try:
            many = body.lstrip().startswith(b"[")
            chunks = chunks_decoder.decode(body) if many else [chunk_decoder.decode(body)]
        except UNREADABLE as error:
            raise _disagreed(error) from error
        for place, chunk in enumerate(chunks):
            self._chunk(chunk, body, place if many else None, deltas)

    def _take(self, events: list[bytes]) -> list[Delta]:
        deltas: list[Delta] = []
        for event in events:
            try:
                chunk = chunk_decoder.decode(event)
            except UNREADABLE as error:
                raise _disagreed(error) from error
            self._chunk(chunk, event, None, deltas)
        return deltas

    def _chunk(self, chunk: Chunk, text: bytes, place: int | None, deltas: list[Delta]) -> None:
        """Take a chunk. It was read from `text`: the whole of it, or its item `place`."""
        if chunk.usage_metadata is not NO_RAW and bytes(chunk.usage_metadata) != b"null":
            self._usage = chunk.usage_metadata
        if chunk.error is not NO_RAW and bytes(chunk.error) != b"null":
            raise _error_inside(bytes(chunk.error))
        if self.vendor_response_id is None and chunk.response_id:
            self.vendor_response_id = chunk.response_id[:LONGEST_ID]
        if self.vendor_model is None and chunk.model_version:
            self.vendor_model = chunk.model_version[:LONGEST_ID]
        feedback = chunk.prompt_feedback
        if feedback is not None and feedback.block_reason:
            told = f": {feedback.block_reason_message}" if feedback.block_reason_message else ""
            text_ = f"the prompt was blocked ({feedback.block_reason}){told}"
            raise failure("content_filter", text_, retriable=False)
        for at, candidate in enumerate(chunk.candidates or ()):
            if not candidate.index:
                self._candidate(candidate, text, place, at, deltas)

    def _candidate(
        self, candidate: Candidate, text: bytes, place: int | None, at: int, deltas: list[Delta]
    ) -> None:
        parts = candidate.content.parts if candidate.content is not None else None
        for number, part in enumerate(parts or ()):
            if not self._part(part, deltas):
                self._foreign(text, place, at, number)
        if candidate.finish_reason:
            self._finish = candidate.finish_reason[:LONGEST_ID]
            self._message = candidate.finish_message
            self.done = self._usage is not NO_RAW

    def _part(self, part: Part, deltas: list[Delta]) -> bool:
        """Take a part of a kind that is known; False where it is none."""
        signature = part.thought_signature
        if part.function_call is not None:
            self._call(part.function_call, signature, deltas)
        elif part.inline_data is not None:
            self._gather.add(_media(part.inline_data, signature))
        elif part.file_data is not None:
            media_type = part.file_data.mime_type
            uri = part.file_data.file_uri
            self._gather.add(
                ContentPart(type=_kind(media_type), media_type=media_type, uri=uri, signature=signature)
            )
        elif part.text is not None or signature:
            self._text(part.text or "", bool(part.thought), signature, deltas)
        else:
            return False
        return True

    def _text(self, text: str, thought: bool, signature: str | None, deltas: list[Delta]) -> None:
        if signature and not text and not thought:
            # The signature of what came before often ends a stream alone; it goes back as it came.
            self._gather.add(ContentPart(type="text", text="", signature=signature))
            return
        if not text and not signature:
            return
        if signature:
            self._gather.close()  # a signed part stays apart from one that isn't
        if thought:
            self._gather.text("thinking", text, ORIGIN)
        else:
            self._gather.text("text", text)
        if text:
            deltas.append(Delta("thinking" if thought else "text", text))
        if signature:
            self._gather.sign(signature)

    def _call(self, call: FunctionCall, signature: str | None, deltas: list[Delta]) -> None:
        if call.partial_args is not NO_RAW or call.will_continue:
            raise failure(
                "provider_error", "the stream is not what was agreed: a function call comes in pieces"
            )
        arguments = _arguments(call.args)
        name = (call.name or "")[:LONGEST_ID]
        part = ContentPart(type="tool_call", tool_name=name, arguments=arguments, signature=signature)
        part.tool_call_id = call.id[:LONGEST_ID] if call.id else self._made_id(name, arguments)
        self._gather.add(part)
        deltas.append(Delta("tool_call", arguments, self._calls))
        self._calls += 1

    def _made_id(self, name: str, arguments: str) -> str:
        """An id for a call that came without: within a conversation each has its own."""
        seed = f"{self.vendor_response_id}/{self._calls}/{name}/{arguments}"
        return f"{MADE_ID}{hashlib.sha256(seed.encode()).hexdigest()[:16]}-{self._calls}"

    def _foreign(self, text: bytes, place: int | None, at: int, number: int) -> None:
        """Keep a part of a kind that only Google knows as it is."""
        try:
            part = raw_part(text, place, at, number).decode()
        except UNREADABLE as error:
            raise _disagreed(error) from error
        if part != "{}":
            self._gather.add(ContentPart(type=VENDOR_PART, text=part))

    def _unfinished(self) -> None:
        """Raise for a stream without a finish reason. Google tells an error at its end as bare lines of JSON."""
        found = _BARE_ERROR.search(self._tail)
        if found is not None:
            seen = error_of(bytes(self._tail[found.start() : self._tail.rfind(b"}") + 1]))
            if seen.codes:
                raise stream_failure(seen.codes, seen.message, ERRORS, seen.wait_ms)
        raise failure("truncated", "the stream ended without a finish reason")


def _disagreed(error: Exception) -> ProviderFailure:
    return failure("provider_error", f"the stream is not what was agreed: {error}")


def _error_inside(raw: bytes) -> ProviderFailure:
    seen = read_error(raw)
    return stream_failure(seen.codes, seen.message, ERRORS, seen.wait_ms)


def _arguments(raw: msgspec.Raw) -> str:
    """The arguments of a call as a JSON text; they must be an object."""
    text = bytes(raw).strip()
    if text == b"null":
        return "{}"
    try:
        if text.startswith(b"{"):
            return text.decode()
    except UnicodeDecodeError as error:
        raise _disagreed(error) from error
    raise failure("provider_error", "the stream is not what was agreed: arguments that are no object")


def _kind(media_type: str | None) -> str:
    main = (media_type or "").partition("/")[0]
    return main if main in ("image", "audio") else "document"


def _media(blob: Blob, signature: str | None) -> ContentPart:
    try:
        data = base64.b64decode(blob.data or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _disagreed(error) from error
    kind = _kind(blob.mime_type)
    return ContentPart(type=kind, media_type=blob.mime_type, data=data, signature=signature)
