"""Dead letters: an event that can't be processed, with its original bytes and what is wrong with it."""

from schemas import ids, names
from schemas.records import DeadLetter, Header
from streams.outbox.contract import Inbound

# A record near the topic's limit leaves no room for the letter around it. What is cut is said in the message, for
# people, and in a header, for programs.
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
        message += f" (kept: {', '.join(cut.values())}; the original lies at its offset)"
        headers.append(Header(key=names.LETTER_TRUNCATED, value=",".join(cut).encode()))
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


def truncated(letter: DeadLetter) -> str | None:
    """Which parts of the original the letter doesn't hold whole, such as `value`; None where it holds all."""
    marks = [h.value or b"" for h in letter.headers if h.key == names.LETTER_TRUNCATED]
    return marks[-1].decode(errors="replace").replace(",", ", ") if marks else None


def _kept(inbound: Inbound) -> tuple[bytes | None, bytes | None, list[Header], dict[str, str]]:
    """Key, value and headers as far as a letter can hold them, and what is said of those that were cut."""
    key, value = inbound.key, inbound.value
    headers = [Header(key=k, value=v) for k, v in inbound.headers]
    cut: dict[str, str] = {}
    if value is not None and len(value) > _MOST_BYTES:
        cut["value"] = f"the first {_MOST_BYTES} of {len(value)} bytes of its value"
        value = value[:_MOST_BYTES]
    if key is not None and len(key) > _MOST_KEY:
        cut["key"] = f"the first {_MOST_KEY} of {len(key)} bytes of its key"
        key = key[:_MOST_KEY]
    if sum(len(h.key) + len(h.value or b"") for h in headers) > _MOST_HEADERS:
        cut["headers"] = "none of its headers"
        headers = []
    return key, value, headers, cut
