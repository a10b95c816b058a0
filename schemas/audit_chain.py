"""The hash chain of the audit trail: each event carries the digest of the one before it in its partition."""

import hashlib
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

import msgspec

from schemas.records import AuditEvent

_FIELDS: Final = tuple(sorted(AuditEvent.__struct_fields__))
_values: Final = attrgetter(*_FIELDS)
_encoder: Final = msgspec.json.Encoder(order="deterministic")


def digest(event: AuditEvent) -> bytes:
    """SHA-256 over the event as JSON with sorted keys, absent, empty and zero fields left out.

    Leaving them out keeps the digests of old events valid when a field with an empty default is added.
    """
    body = {name: value for name, value in zip(_FIELDS, _values(event), strict=True) if value}
    return hashlib.sha256(_encoder.encode(body)).digest()


def verify(events: Iterable[AuditEvent]) -> list[str]:
    """What is wrong in one partition's events, given in order; an empty list where the chain holds.

    The events may start anywhere in the chain (retention drops the oldest): the first is taken on trust,
    unless it is number 1, which must carry an empty hash.
    """
    faults: list[str] = []
    previous: AuditEvent | None = None
    for event in events:
        if previous is None:
            if event.sequence == 1 and event.previous_hash != b"":
                faults.append("event 1 carries a previous hash: the chain's start was replaced")
        elif event.sequence != previous.sequence + 1:
            faults.append(f"event {event.sequence} follows {previous.sequence}: one is missing or repeated")
        elif event.previous_hash != digest(previous):
            faults.append(f"event {previous.sequence} was changed: {event.sequence} carries another hash")
        previous = event
    return faults
