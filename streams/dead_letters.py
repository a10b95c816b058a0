"""Dead letters: an event that can't be processed, with its original bytes and what is wrong with it."""

from schemas import ids
from schemas.records import DeadLetter, Header
from streams.outbox.contract import Inbound

# A record near the topic's limit leaves no room for the letter around it; what is cut is said in the message.
_MOST_BYTES = 4 << 20
_MOST_KEY, _MOST_HEADERS, _MOST_NAME = 64 << 10, 256 << 10, 1024


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
    key, value, headers, cut = _kept(inbound)
    if cut:
        message += f" (kept: {', '.join(cut)}; the original lies at its offset)"
    return DeadLetter(
        id=ids.dead_letter_id(inbound.topic, inbound.partition, inbound.offset),
        kind=kind or reason,
        stage=stage,
        reason=reason,
        message=message[:_MOST_HEADERS],
        at=at,
        source_topic=inbound.topic,
        source_partition=inbound.partition,
        source_offset=inbound.offset,
        source_timestamp=inbound.timestamp,
        key=key,
        value=value,
        headers=headers,
        claimed_tenant=claimed_tenant and claimed_tenant[:_MOST_NAME],
        request_id=request_id and request_id[:_MOST_NAME],
    )


def _kept(inbound: Inbound) -> tuple[bytes | None, bytes | None, list[Header], list[str]]:
    """Key, value and headers as far as a letter can hold them, and what is said of those that were cut."""
    key, value = inbound.key, inbound.value
    headers = [Header(key=k, value=v) for k, v in inbound.headers]
    cut: list[str] = []
    if value is not None and len(value) > _MOST_BYTES:
        cut.append(f"the first {_MOST_BYTES} of {len(value)} bytes of its value")
        value = value[:_MOST_BYTES]
    if key is not None and len(key) > _MOST_KEY:
        cut.append(f"the first {_MOST_KEY} of {len(key)} bytes of its key")
        key = key[:_MOST_KEY]
    if sum(len(h.key) + len(h.value or b"") for h in headers) > _MOST_HEADERS:
        cut.append("none of its headers")
        headers = []
    return key, value, headers, cut
