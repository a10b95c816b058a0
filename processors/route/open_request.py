"""What route keeps of a request until its last attempt is settled: a small packed record, never a body.

Packed form: format version (1 byte), due time (6 bytes, milliseconds since the epoch, big-endian), then
MessagePack arrays. The same bytes lie in memory and in the changelog; the due time is read without unpacking.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

from schemas.records import RequestEvent

FORMAT: Final = 1
OPEN, QUARANTINED, FINAL = 0, 1, 2
NANOS: Final = 1_000_000_000
_UUID_CUTS: Final = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_TRACE_CUTS: Final = ((0, 2), (2, 34), (34, 50), (50, 52))


def shrink(text: str) -> bytes:
    """A text as bytes after a tag: 1 for what a UUID or a traceparent writes in hex, 0 for UTF-8."""
    if len(text) in (36, 55):
        try:
            raw = b"\1" + bytes.fromhex(text.replace("-", ""))
        except ValueError:
            return b"\0" + text.encode()
        if expand(raw) == text:
            return raw
    return b"\0" + text.encode()


@lru_cache(maxsize=64)
def expand(shrunk: bytes) -> str:
    """The text that was shrunk. One decision asks for the same few again and again, hence the cache."""
    if shrunk[0] == 0:
        return shrunk[1:].decode()
    digits = shrunk[1:].hex()
    cuts = _UUID_CUTS if len(digits) == 32 else _TRACE_CUTS
    return "-".join([digits[a:b] for a, b in cuts])


class Identifiers(msgspec.Struct, array_like=True):
    """Long texts that are mostly UUIDs or trace contexts, shrunk."""

    request: bytes
    session: bytes | None = None
    trace: bytes | None = None


class Echo(msgspec.Struct, array_like=True):
    """Fields of the request that results, usage and audit repeat."""

    application: str | None = None
    user: str | None = None
    purpose: str | None = None
    tags: list[str] = []
    data_classes: list[str] = []
    workflow_name: str | None = None
    workflow_id: str | None = None
    workflow_step: str | None = None
    parent_request_id: str | None = None
    experiment_key: str | None = None
    reply_topic: str | None = None
    metadata: dict[str, str] = {}


class Reservation(msgspec.Struct, array_like=True):
    """One attempt not settled for good, and its worst case: tokens, and nano-dollars (None where unpriced).

    `candidate` is an index into the request's candidates.
    """

    attempt: int
    candidate: int
    max_input: int
    max_output: int
    cost: int | None = None
    settled_unknown: bool = False


class OpenRequest(msgspec.Struct, array_like=True):
    """A request from its acceptance until every attempt is settled. Times of `_ms` count from accepted_at."""

    ids: Identifiers
    tenant: str
    config_version: str
    accepted_at: int
    deadline_ms: int
    body: int
    source: int
    lane: str
    task_type: str
    status: int = OPEN
    issued_ms: int = 0
    attempt: int = 0  # number of the last attempt issued
    counted: int = 0  # attempts that count against the maximum (those returned unstarted don't)
    current: int = 0  # index of the candidate of the last attempt
    ruled_out: int = 0  # bit set of candidates that can't serve this request
    candidates: list[str] = []
    reservations: list[Reservation] = []
    echo: Echo = msgspec.field(default_factory=Echo)
    failures: int = 0  # of the current candidate in a row, those that may pass
    allowance: int | None = (
        None  # what the request may still cost, nano-dollars; None where it set no max_cost
    )

    @property
    def request_id(self) -> str:
        return expand(self.ids.request)

    @property
    def session_id(self) -> str | None:
        return expand(self.ids.session) if self.ids.session else None

    @property
    def traceparent(self) -> str | None:
        return expand(self.ids.trace) if self.ids.trace else None

    @property
    def deadline_at(self) -> int:
        return self.accepted_at + self.deadline_ms

    @property
    def model(self) -> str | None:
        """The model of the last attempt, or None where none was issued."""
        return self.candidates[self.current] if self.attempt else None

    def reservation(self, attempt: int) -> Reservation | None:
        """The reservation of an attempt, or None where it was settled for good or never made."""
        return next((r for r in self.reservations if r.attempt == attempt), None)

    def left(self) -> list[str]:
        """The candidates not ruled out, best first."""
        return [name for i, name in enumerate(self.candidates) if not self.ruled_out >> i & 1]

    def onward(self) -> list[str]:
        """The candidates not ruled out in the order of trying on: from the one behind the current, which is last."""
        behind, candidates = self.current + 1, range(len(self.candidates))
        return [
            self.candidates[i]
            for i in (*candidates[behind:], *candidates[:behind])
            if not self.ruled_out >> i & 1
        ]


class UnreadableState(Exception):
    """A state record of a format that this version can't read. Upgrade the worker, or restore the topic."""


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(OpenRequest)


def identifiers_of(request: RequestEvent) -> Identifiers:
    """The identifiers of a request, shrunk."""
    session, trace = request.session_id, request.traceparent
    return Identifiers(
        shrink(request.id), shrink(session) if session else None, shrink(trace) if trace else None
    )


def echo_of(request: RequestEvent) -> Echo:
    """The fields of a request that its results repeat."""
    return Echo(
        request.application,
        request.user,
        request.purpose,
        request.tags,
        request.data_classes,
        request.workflow_name,
        request.workflow_id,
        request.workflow_step,
        request.parent_request_id,
        request.experiment_key,
        request.reply_topic,
        request.metadata,
    )


def pack(record: OpenRequest, due_ms: int) -> bytes:
    """The record and the time of its next timer, packed."""
    return b"\x01" + due_ms.to_bytes(6, "big") + _encoder.encode(record)


def unpack(packed: bytes) -> OpenRequest:
    """Raises UnreadableState where the format is another."""
    check_format(packed, "a request")
    return _decoder.decode(memoryview(packed)[7:])


def due_of(packed: bytes) -> int:
    """The time of a packed record's next timer, milliseconds since the epoch."""
    return int.from_bytes(packed[1:7], "big")


def check_format(value: bytes, what: str) -> None:
    """Raises UnreadableState unless `value` begins with a format version that this version reads."""
    version = value[0] if value else 0
    if version != FORMAT:
        raise UnreadableState(
            f"{what} in route's state has format {version}; this version reads format {FORMAT}:"
            " run a version that reads it, newer where the number is higher"
        )


def to_nanos(cost: Decimal | None) -> int | None:
    """US dollars as whole nano-dollars, the form kept in state."""
    return None if cost is None else int(cost * NANOS)


def from_nanos(nanos: int | None) -> Decimal | None:
    """Nano-dollars as US dollars with nine places."""
    return None if nanos is None else Decimal(nanos).scaleb(-9)
