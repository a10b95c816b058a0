"""Dead letters: an event that can't be processed, with its original bytes and what is wrong with it."""

from schemas import ids
from schemas.letters import keep
from schemas.records import DeadLetter
from streams.outbox.contract import Inbound

_MOST_NAME = 1024


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
    retention_days: int | None = None,
) -> DeadLetter:
    """The dead letter of a record; its id is where the record lies, so that making it again makes the same one.

    `retention_days`: how long the sink keeps the original, by the configuration.
    """
    kept = keep(inbound.key, inbound.value, inbound.headers, message)
    return DeadLetter(
        id=ids.dead_letter_id(inbound.topic, inbound.partition, inbound.offset),
        kind=kind or reason,
        stage=stage,
        reason=reason,
        message=kept.message,
        at=at,
        source_topic=inbound.topic,
        source_partition=inbound.partition,
        source_offset=inbound.offset,
        source_timestamp=inbound.timestamp,
        key=kept.key,
        value=kept.value,
        headers=kept.headers,
        claimed_tenant=claimed_tenant and claimed_tenant[:_MOST_NAME],
        request_id=request_id and request_id[:_MOST_NAME],
        retention_days=retention_days,
    )
