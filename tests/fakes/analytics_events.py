"""The events of the made-up autumn (`analytics_world`), as the stages would publish them, and their rows."""

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import msgspec

from schemas import names
from schemas.records import (
    AuditEvent,
    DeadLetter,
    Feedback,
)
from sinks.config_record import ConfigRecord
from sinks.rows import rows_of
from sinks.store import Row
from tests.fakes import analytics_records as records
from tests.fakes.analytics_world import TENANTS, Asked, Call, World, ms

LOST_SEQUENCE: Final = 20
"""The number that lacks in the audit's chain of partition 0."""
LETTERS: Final = (
    ("classify", "undecodable", 5),
    ("classify", "no_tenant", 3),
    ("relay", "unknown_topic", 2),
)
PAUSES: Final = (("operator:ann", "paused", 3), ("operator:bob", "resumed", 2))
CONFIGS: Final = (("1111aaaa1111aaaa", ms(date(2026, 9, 30))), ("2222bbbb2222bbbb", ms(date(2026, 11, 1))))

Published = tuple[str, int, int, Any]
"""Topic, partition, time and event."""


class _Record(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None = None
    value: bytes | None = b""
    headers: tuple[tuple[str, bytes], ...] = ()


def rows(world: World) -> dict[str, list[Row]]:
    """The rows by table, in no particular order: much of it is late."""
    offsets: dict[tuple[str, int], int] = defaultdict(int)
    made: dict[str, list[Row]] = defaultdict(list)
    for topic, partition, at, event in sorted(_published(world), key=lambda p: p[2]):
        record = _Record(topic, partition, offsets[topic, partition], at)
        offsets[topic, partition] += 1
        if isinstance(event, AuditEvent):
            event.sequence = record.offset + 1 + (partition == 0 and record.offset + 1 >= LOST_SEQUENCE)
        for table, row in rows_of(event, record):
            made[table].append(row)
    for found in made.values():
        random.Random(1).shuffle(found)
    return made


def partition_of(tenant: str) -> int:
    """The partition that a tenant's events lie in."""
    return TENANTS.index(tenant) % 2


def notices_of(world: World) -> list[tuple[Asked, str]]:
    """The requests that were sent again, and what came of it."""
    again = [a for a in world.asked if a.accepted_at >= CONFIGS[1][1]][::9]
    return [(a, "duplicate" if n % 3 else "conflict") for n, a in enumerate(again)]


def feedback_of(world: World) -> list[tuple[Asked, float | None, str]]:
    """The requests that were judged: score and label."""
    judged = [a for a in world.asked if a.status == "succeeded"][::5]
    return [
        (a, None if n % 7 == 0 else (n % 5) / 4, "wrong" if n % 4 == 0 else "right")
        for n, a in enumerate(judged)
    ]


def _published(world: World) -> Iterator[Published]:
    for asked in world.asked:
        yield from ((*where, event) for *where, event in _of_request(asked))
    for number, (asked, kind) in enumerate(notices_of(world)):
        at = asked.accepted_at + 60_000
        yield names.RESULTS, partition_of(asked.tenant), at, records.notice(asked, kind, number, at)
    for asked, score, label in feedback_of(world):
        at = asked.ended_at + 3_600_000
        told = Feedback(request_id=asked.request_id, tenant=asked.tenant, at=at, score=score, label=label)
        yield names.FEEDBACK, 0, at, told
    for version, at in CONFIGS:
        yield names.CONFIG, 0, at, ConfigRecord("published", version, '{"models":{}}')
        yield names.CONFIG, 0, at + 1, ConfigRecord("activated", version)
    yield from _letters()
    for actor, action, times in PAUSES:
        for n in range(times):
            at = ms(date(2026, 11, 5 + n), len(actor + action))
            yield names.AUDIT, 1, at, records.audit(None, action, at, actor, f"{actor}-{n}", model="chat")


def _letters() -> Iterator[Published]:
    number = 0
    for stage, reason, times in LETTERS:
        for _ in range(times):
            number += 1
            at = ms(date(2026, 11, number), number)
            letter = DeadLetter(
                id=f"llm.requests-0-{number}",
                kind="undecodable",
                stage=stage,
                reason=reason,
                message=f"mend what is {reason}",
                at=at,
                source_topic="llm.requests",
                source_partition=0,
                source_offset=number,
                source_timestamp=at,
                value=b"\xff",
            )
            for copy in range(2 if number == 4 else 1):
                yield names.DEAD_LETTERS, 0, at + copy, letter


def _of_request(a: Asked) -> Iterator[Published]:
    partition = partition_of(a.tenant)
    details = {
        "candidates": [a.first_model, "chat"] if a.first_model else [],
        "rule": a.rule if a.first_model else "",
        "why": "first healthy" if a.first_model else "",
        "deadline_at": a.accepted_at + 600_000,
        "worst_case_cost": a.calls[0].worst if a.calls else None,
        "problems": [{"code": code, "message": "mend it"} for code in a.problems],
    }
    accepted = records.audit(a, "accepted", a.accepted_at, details=details, model=a.first_model or None)
    yield names.AUDIT, partition, a.accepted_at, accepted
    for call in a.calls:
        yield from _of_call(a, call, partition)
    if a.handed_over:
        at = a.ended_at + 5
        open_call = records.journal(a, None, "started", at), records.journal(a, None, "handed_over", at + 9)
        for n, entry in enumerate(open_call):
            yield names.ATTEMPTS, partition, at + n, entry
    if a.status:
        yield names.RESULTS, partition, a.ended_at, records.result(a)
        told = {"message": a.words} if a.words else None
        end = records.audit(
            a, "finalised", a.ended_at, a.actor, status=a.status, reason=a.error_class or None, details=told
        )
        yield names.AUDIT, partition, a.ended_at, end


def _of_call(a: Asked, call: Call, partition: int) -> Iterator[Published]:
    if call.number > 1:
        details = {"why": "next candidate", "worst_case_cost": call.worst}
        reason = a.calls[call.number - 2].error_class
        retried = records.audit(
            a,
            "retried",
            call.issued_at,
            attempt=call.number,
            model=call.model,
            reason=reason,
            details=details,
        )
        yield names.AUDIT, partition, call.issued_at, retried
    yield names.ATTEMPTS, partition, call.started_at or 0, records.journal(a, call, "started")
    if call.ended_at is not None:
        yield names.ATTEMPTS, partition, call.ended_at, records.journal(a, call, "done")
    yield names.USAGE, partition, call.settled_at, records.usage(a, call, corrects=False)
    if call.correction is not None:
        yield (
            names.USAGE,
            partition,
            call.correction.settled_at,
            records.usage(a, call.correction, corrects=True),
        )
