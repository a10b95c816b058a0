from collections.abc import Mapping
from typing import Final

import msgspec

from processors.providers.base import Completion, Delta, Feature, HttpRequest, ProviderFailure
from processors.providers.encoding import JSON_HEADERS, conversation
from processors.providers.failures import OVERLOADED, Errors, failure, http_failure, stream_failure
from processors.providers.gather import Gather
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, Usage
from schemas.signals import Invalid

FEATURES: Final[Mapping[str, Feature]] = {"text": Feature("yes"), "seed": Feature("drop"), "image_bytes": Feature("no")}
ERRORS: Final[Errors] = {(400, "too_busy"): OVERLOADED}
_FINISH: Final = {"end": "stop", "limit": "length"}


class _Event(msgspec.Struct):
    """A line of an answer; what it has beside these is passed over."""

    text: str | None = None
    end: str | None = None
    read: int | None = None
    written: int | None = None
    error: str | None = None


_read = msgspec.json.Decoder(_Event).decode


class ToyDecoder:
    """Gathers an answer of lines."""

    def __init__(self) -> None:
        self.done, self.usage = False, None
        self.vendor_response_id = self.vendor_model = None
        self._gather, self._rest, self._end = Gather(), b"", ""

    @property
    def output_bytes(self) -> int:
        return self._gather.size

    def feed(self, data: bytes) -> list[Delta]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [delta for line in lines for delta in self._line(line)]

    def _line(self, line: bytes) -> list[Delta]:
        try:
            event = _read(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise failure("provider_error", f"the stream is not what was agreed: {error}") from error
        if event.error is not None:
            raise stream_failure(event.error, "the vendor broke off", ERRORS)
        if event.end is not None:
            self._end, self.done = event.end, True
            self.usage = Usage(input_uncached=event.read, output=event.written, raw=line.decode())
        if not event.text:
            return []
        self._gather.text("text", event.text)
        return [Delta("text", event.text)]

    def finish(self) -> Completion:
        if not self._end:
            raise failure("truncated", "the stream ended without a finish reason")
        self._gather.close()
        return Completion(_FINISH.get(self._end, "error"), self._gather.parts, self.usage, finish_reason_raw=self._end)


class ToyAdapter:
    """The adapter of `kind: toy`."""

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        dropped = Dropped(model.unsupported)
        told = task.request.parameters
        if told is not None and told.seed is not None:
            dropped.note("parameters.seed", "the vendor has no seed")
        parts = [part for message in conversation(task.request) for part in message.content]
        if any(part.type != "text" for part in parts):
            raise Invalid("invalid_request", "toy takes text only")
        body = {"model": model.vendor_model, "say": [p.text for p in parts], "most": task.max_output_tokens}
        return HttpRequest("POST", "/say", dict(JSON_HEADERS), msgspec.json.encode(body), dropped.names)

    def decoder(self, content_type: str) -> ToyDecoder:
        return ToyDecoder()

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        try:
            code = _read(body).error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            code = None
        return http_failure(status, code, body.decode(errors="replace"), wait_ms, ERRORS)
