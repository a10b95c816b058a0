"""What every provider adapter gives: requests encoded, streams decoded, failures classed. No I/O here.

An adapter turns a `CallTask` into an `HttpRequest` and makes a `StreamDecoder` for the answer. Whoever moves
the bytes (`call.py`) feeds the decoder; a failure is always a `ProviderFailure`, never an empty success.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import msgspec

from schemas.config import Model
from schemas.records import CallTask, ContentPart, ErrorInfo, Usage

_BYTES_PER_TOKEN = 4

# Carries `<attempt id>.<try>`, so that a provider's log can be laid beside the attempt journal.
ATTEMPT_HEADER: Final = "x-sluice-attempt-id"

# The canonical finish reasons; adapters map their vendor's words to these.
FinishReason = Literal[
    "stop", "length", "tool_call", "content_filter", "stop_sequence", "refusal", "pause", "context_exceeded", "error"
]  # fmt: skip
# How an adapter supports a feature, and a note for its page.
Support = Literal["yes", "no", "drop"]


@dataclass(frozen=True, slots=True)
class Feature:
    """A line of an adapter's FEATURES table, from which its page is made."""

    support: Support
    note: str = ""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request below a provider's base URL; the body is complete.

    `dropped`: the parameters of the request that the target can't express and the model's policy lets fall.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    dropped: tuple[str, ...] = ()


class Delta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the output as it arrives; `text` holds argument text for a tool call.

    `index` tells the tool calls of an answer apart.
    """

    kind: Literal["text", "thinking", "tool_call", "audio"]
    text: str
    index: int = 0


@dataclass(slots=True)
class Completion:
    """A whole answer. `usage` is None where the vendor sent none; `finish_reason_raw` is the vendor's own word."""

    finish_reason: FinishReason
    parts: list[ContentPart]
    usage: Usage | None = None
    vendor_response_id: str | None = None
    vendor_model: str | None = None
    finish_reason_raw: str | None = None


@dataclass(eq=False)
class ProviderFailure(Exception):
    """A call that gave no answer.

    `repeatable`: the same call may be made again at once, because nothing can have been paid for this one.
    """

    error: ErrorInfo
    repeatable: bool = False
    usage: Usage | None = field(default=None)

    def __str__(self) -> str:
        return f"{self.error.error_class}: {self.error.message}"


class StreamDecoder(Protocol):
    """Decodes one answer. `output_bytes` counts the text so far; the vendor's ids are set once known.

    `done`: the vendor has said that nothing follows, whether or not the connection ends.
    """

    done: bool
    vendor_response_id: str | None
    vendor_model: str | None

    @property
    def output_bytes(self) -> int: ...

    @property
    def usage(self) -> Usage | None: ...

    def feed(self, data: bytes) -> list[Delta]:
        """Take the next bytes, split anywhere. Raises ProviderFailure on an error event or broken data."""

    def finish(self) -> Completion:
        """The answer, after the last byte. Raises ProviderFailure `truncated` without a finish reason."""


class Adapter(Protocol):
    """A provider kind."""

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        """The request of a task. Raises signals.Invalid where the task can't be expressed."""

    def decoder(self, content_type: str) -> StreamDecoder:
        """A decoder for one answer of that content type."""

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        """What an answer with an error status means; `wait_ms` is the wait the provider asks for."""


def told_or_estimated(usage: Usage | None, task: CallTask, output_bytes: int) -> Usage:
    """The vendor's usage; what it lacks of input or output is estimated, and that is flagged."""
    if usage is None:
        return estimate_usage(task, output_bytes)
    plain, output = usage.input_uncached, usage.output
    if plain is not None and output is not None:
        return usage
    guess = estimate_usage(task, output_bytes)
    if plain is None:
        plain = max(0, task.input_tokens_estimate - (usage.cache_read or 0) - (usage.cache_write or 0))
    if output is None:
        output = max(guess.output or 0, usage.reasoning or 0)
    return msgspec.structs.replace(usage, input_uncached=plain, output=output, estimated=True)


def estimate_usage(task: CallTask, output_bytes: int) -> Usage:
    """Usage where the vendor told none: input as estimated for routing, output by its bytes; flagged."""
    output = -(-output_bytes // _BYTES_PER_TOKEN)
    return Usage(input_uncached=task.input_tokens_estimate, output=output, estimated=True)
