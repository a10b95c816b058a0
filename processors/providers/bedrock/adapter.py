"""AWS Bedrock's Converse API, always streamed (ConverseStream)."""

from collections.abc import Mapping
from typing import Final

from processors.providers.base import Completion, Delta, Feature, HttpRequest, ProviderFailure
from processors.providers.bedrock.blocks import Blocks
from processors.providers.bedrock.eventstream import FrameParser, Head
from processors.providers.bedrock.request import encode
from processors.providers.bedrock.wire import (
    ERRORS,
    FINISH,
    answer_decoder,
    codes_of,
    error_of,
    event_decoder,
    usage_of,
)
from processors.providers.bounds import UNREADABLE
from processors.providers.events import is_whole
from processors.providers.failures import failure, http_failure, stream_failure
from processors.providers.finish import finish_reason
from processors.providers.gather import LONGEST_ID
from schemas.config import Model
from schemas.records import CallTask, Usage

# What a hostile answer makes its readers raise; a BrokenFrame is a ValueError.
_STUMBLES: Final = (ValueError, TypeError, *UNREADABLE)

__all__ = ["ERRORS", "FEATURES", "BedrockAdapter", "BedrockDecoder"]

FEATURES: Final[Mapping[str, Feature]] = {
    "text": Feature("yes"),
    "system": Feature("yes"),
    "image_bytes": Feature("yes", "PNG, JPEG, GIF and WebP"),
    "image_url": Feature("no", "s3:// alone, where the provider has content_urls: pass"),
    "document": Feature("yes", "PDF, CSV, Word, Excel, HTML, plain text and Markdown"),
    "audio": Feature("yes", "where the model takes it"),
    "tools": Feature("yes"),
    "tool_choice": Feature("yes", "auto, required, a name; none where the conversation has no calls"),
    "parallel_tools": Feature("drop", "they can't be forbidden"),
    "tool_result_media": Feature("yes", "images and documents"),
    "tool_errors": Feature("yes", "status"),
    "json": Feature("drop", "the vendor wants a schema"),
    "json_schema": Feature("yes", "outputConfig.textFormat, Claude from 4.5; always strict (strict: false by policy)"),
    "reasoning": Feature("yes", "effort"),
    "reasoning_budget": Feature("yes", "of Claude to 4.6"),
    "signatures": Feature("yes", "reasoning, redacted or not, goes back unchanged"),
    "citations": Feature("no", "the cited text stays, its citations are left out"),
    "vendor_parts": Feature("yes", "blocks of system tools are kept and sent back unchanged"),
    "temperature": Feature("yes", "0 to 1; not of Claude from 4.7"),
    "top_p": Feature("yes", "not of Claude from 4.7"),
    "top_k": Feature("drop", "of Claude to 4.6 and of Nova alone"),
    "stop": Feature("yes"),
    "seed": Feature("drop"),
    "penalties": Feature("drop"),
    "names": Feature("drop", "messages.name can't be told"),
    "cache_hints": Feature("yes", "ephemeral, ephemeral_5m, ephemeral_1h"),
    "service_tier": Feature("yes", "priority, default, flex, reserved; the one that served is read from the answer"),
    "streaming": Feature("yes", "event-stream frames"),
    "usage": Feature("yes", "cache writes of an hour apart; reasoning isn't told"),
    "embeddings": Feature("yes", "Titan and Cohere, by InvokeModel; Cohere's usage is unknown"),
    "rerank": Feature("yes", "Cohere and Amazon, by InvokeModel; usage is unknown"),
}  # fmt: skip


class BedrockDecoder:
    """Gathers a streamed answer, or a whole one where it came as JSON (`whole`)."""

    def __init__(self, whole: bool = False) -> None:
        self.output_bytes = 0
        self.vendor_response_id: str | None = None
        self.vendor_model: str | None = None
        self.usage: Usage | None = None
        self.done = False
        self._whole: list[bytes] | None = [] if whole else None
        self._frames = FrameParser()
        self._blocks = Blocks()
        self._finish: str | None = None

    def feed(self, data: bytes) -> list[Delta]:
        if self._whole is not None:
            self._whole.append(data)
            self.output_bytes += len(data)
            return []
        deltas: list[Delta] = []
        try:
            for head, payload in self._frames.feed(data):
                self._take(head, payload, deltas)
        except _STUMBLES as error:
            raise _not_agreed(error) from error
        finally:
            self.output_bytes = self._blocks.size
        return deltas

    def finish(self) -> Completion:
        try:
            if self._whole is not None:
                self._take_whole(b"".join(self._whole))
            if self._finish is None:
                raise failure("truncated", "the stream ended without a stop reason")
            parts = self._blocks.parts()
        except _STUMBLES as error:
            raise _not_agreed(error) from error
        return Completion(
            finish_reason=finish_reason(FINISH, self._finish, parts),
            parts=parts,
            usage=self.usage,
            vendor_response_id=self.vendor_response_id,
            vendor_model=self.vendor_model,
            finish_reason_raw=self._finish,
        )

    def _take(self, head: Head, payload: bytes, deltas: list[Delta]) -> None:
        if head.kind != "event":
            raise _told(head, payload)
        match head.name:
            case "contentBlockDelta":
                seen = event_decoder.decode(payload)
                if seen.delta is not None:
                    self._blocks.grow(seen.contentBlockIndex, seen.delta, deltas)
            case "contentBlockStart":
                seen = event_decoder.decode(payload)
                if seen.start is not None:
                    self._blocks.start(seen.contentBlockIndex, seen.start, deltas)
            case "messageStop":
                self._stop(event_decoder.decode(payload).stopReason)
            case "metadata":
                seen = event_decoder.decode(payload)
                self.usage = usage_of(seen.usage, seen.serviceTier) or self.usage
                self.done = self._finish is not None

    def _stop(self, reason: str | None) -> None:
        if reason:
            self._finish = reason[:LONGEST_ID]

    def _take_whole(self, body: bytes) -> None:
        self.output_bytes = 0
        answer = answer_decoder.decode(body)
        message = answer.output.message if answer.output is not None else None
        for index, raw in enumerate((message.content if message is not None else None) or ()):
            self._blocks.whole(index, raw)
        self.output_bytes = self._blocks.size
        self.usage = usage_of(answer.usage, answer.serviceTier)
        self._stop(answer.stopReason)


def _told(head: Head, payload: bytes) -> ProviderFailure:
    """What an exception inside the stream means."""
    _, message = error_of(payload) if payload else ((), head.message)
    return stream_failure(codes_of(head.name, message), message, ERRORS)


def _not_agreed(error: Exception) -> ProviderFailure:
    return failure("provider_error", f"the stream is not what was agreed: {error}")


class BedrockAdapter:
    """The adapter of `kind: bedrock`."""

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        return encode(task, model)

    def decoder(self, content_type: str) -> BedrockDecoder:
        return BedrockDecoder(is_whole(content_type))

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        codes, message = error_of(body)
        return http_failure(status, codes, message, wait_ms, ERRORS)
