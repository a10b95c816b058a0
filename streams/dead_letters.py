"""Dead letters: an event that can't be processed, with its original bytes and what is wrong with it."""

from schemas import ids
from schemas.records import DeadLetter, Header
from streams.outbox.contract import Inbound

# A record near the topic's limit leaves no room for the letter around it; what is cut is said in the message.
_MOST_BYTES = 5 << 20


def dead_letter(
    inbound: Inbound,
    *,
    stage: str,
    reason: str,
    message: str,
    at: int,
    kind: str | None = None,
    claimed_tenant: str | None = None,
    request_id: str | None = None,
) -> DeadLetter:
    """The dead letter of a record; its id is where the record lies, so that making it again makes the same one."""
    value = inbound.value
    if value is not None and len(value) > _MOST_BYTES:
        message += (
            f" (the first {_MOST_BYTES} of {len(value)} bytes are kept; the original lies at its offset)"
        )
        value = value[:_MOST_BYTES]
    return DeadLetter(
        id=ids.dead_letter_id(inbound.topic, inbound.partition, inbound.offset),
        kind=kind or reason,
        stage=stage,
        reason=reason,
        message=message,
        at=at,
        source_topic=inbound.topic,
        source_partition=inbound.partition,
        source_offset=inbound.offset,
        source_timestamp=inbound.timestamp,
        key=inbound.key,
        value=value,
        headers=[Header(key=k, value=v) for k, v in inbound.headers],
        claimed_tenant=claimed_tenant,
        request_id=request_id,
    )
