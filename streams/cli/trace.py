"""`sluice trace`: everything that happened to one request, in order.

ClickHouse tells it where it has the whole of it; else the topics do, of which only the partitions that can
hold the request are read.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from schemas import names
from schemas.codec import Codec
from schemas.records import Attempt, AuditEvent, DeadLetter, ResultEvent, UsageEvent
from schemas.signals import Invalid
from streams.cli import output, steps
from streams.cli.clickhouse import ClickHouse
from streams.cli.connect import Where, where
from streams.cli.control import tenant_of
from streams.cli.events import fields_of, headers_of, open_codec
from streams.cli.failure import Ambiguous, Failure, NotFound, translate
from streams.cli.kafka import Span, read
from streams.cli.steps import Step
from streams.cli.trace_kafka import more

_WIDTH = 240


@dataclass(frozen=True)
class Told:
    """What is known, and from where."""

    tenant: str | None
    steps: list[Step]
    source: str


async def tell(request_id: str, tenant: str | None, as_json: bool) -> None:
    """`sluice trace`. Raises NotFound where nothing is known of the request."""
    place = where()
    told, why_not = await from_clickhouse(place, request_id, tenant)
    if told is None or not steps.complete(told.steps):
        fresh = await _from_topics_or_none(
            place, request_id, told.tenant if told else tenant, needed=told is None
        )
        if fresh is not None and (told is None or len(fresh.steps) > len(told.steps)):
            told = fresh
    if told is None or not told.steps:
        raise NotFound(f"nothing is known of request {request_id}", why_not or "check the id, and --tenant")
    if told.tenant is not None:
        told = replace(told, steps=steps.in_order([*told.steps, *await _more(place, request_id, told)]))
    _print(request_id, told, as_json)


async def _more(place: Where, request_id: str, told: Told) -> list[Step]:
    """What only Kafka tells."""
    try:
        return await more(place, request_id, told.tenant or "", told.steps)
    except Exception as error:
        if translate(error) is None:
            raise
        output.note("Kafka doesn't answer: when it was classified, copied, and why it waits isn't told")
        return []


async def from_clickhouse(
    place: Where, request_id: str, tenant: str | None
) -> tuple[Told | None, str | None]:
    """The steps from ClickHouse; None and the reason where it has nothing or doesn't answer.

    Raises Ambiguous where the id alone means several tenants' requests.
    """
    try:
        owner = tenant or await tenant_of(place, request_id)
        parameters = {"id": request_id, "tenant": owner}
        async with ClickHouse(place, timeout_s=20) as clickhouse:
            found = [
                make(row)
                for make, query in steps.QUERIES.values()
                for row in await clickhouse.rows(query, parameters)
            ]
    except Ambiguous:
        raise
    except Failure as error:
        return None, error.hint
    return (Told(owner, steps.in_order(found), "ClickHouse"), None) if found else (None, None)


async def _from_topics_or_none(
    place: Where, request_id: str, tenant: str | None, *, needed: bool
) -> Told | None:
    try:
        return await from_topics(place, request_id, tenant)
    except Exception as error:
        if needed or translate(error) is None:
            raise
        output.note("Kafka doesn't answer: this is what ClickHouse has so far")
        return None


_Source = tuple[str, type[msgspec.Struct], Callable[[dict[str, Any]], Step]]
_BY_TENANT: tuple[_Source, ...] = (
    (names.AUDIT, AuditEvent, steps.audit),
    (names.USAGE, UsageEvent, lambda row: steps.usage({**row, **row["usage"]})),
    (names.RESULTS, ResultEvent, steps.result),
)
_ANYWHERE: tuple[_Source, ...] = (
    (names.ATTEMPTS, Attempt, steps.attempt),
    (names.DEAD_LETTERS, DeadLetter, steps.dead_letter),
)


async def from_topics(place: Where, request_id: str, tenant: str | None) -> Told:
    """The steps from Kafka. With a tenant, only that tenant's partition of most topics is read."""
    found: list[Step] = []
    async with open_codec(place) as codec:
        for topic, kind, make in (*_BY_TENANT, *_ANYWHERE):
            span = Span(tenant=tenant) if topic != names.ATTEMPTS and topic != names.DEAD_LETTERS else Span()
            async for event in _events(place, codec, topic, kind, span, request_id):
                owner = getattr(event, "tenant", None) or getattr(event, "claimed_tenant", None)
                if tenant is not None and owner not in (tenant, None):
                    continue
                tenant = tenant or owner
                fields = fields_of(event)
                found.append(make(fields))
                if isinstance(event, AuditEvent) and event.action == "accepted" and event.accepted_at is not None:
                    found.append(steps.published(fields))
    return Told(tenant, steps.in_order(found), "Kafka's topics")


async def _events(
    place: Where, codec: Codec, topic: str, kind: type[msgspec.Struct], span: Span, request_id: str
) -> AsyncIterator[msgspec.Struct]:
    wanted = request_id.encode()
    async for record in read(place.brokers, topic, span):
        if headers_of(record).get(names.HEADER_REQUEST_ID, request_id) != request_id:
            continue
        if record.value is None or wanted not in record.value:  # an id stands in the bytes as it is
            continue
        try:
            event = await codec.decode_async(record.value, kind)
        except Invalid:
            continue  # not ours to judge here: whoever processes the topic dead-letters it
        if getattr(event, "request_id", None) == request_id:
            yield event


def _print(request_id: str, told: Told, as_json: bool) -> None:
    if as_json:
        for step in told.steps:
            fields = {k.replace(" ", "_") or "text": v for k, v in step.details.items()}
            output.emit(
                {"at": step.at, "stage": step.stage, "what": step.what, "source": told.source, **fields}
            )
        return
    first = told.steps[0].at
    rows = [
        (output.clock(s.at), f"+{(s.at - first) / 1000:.3f} s", s.stage, s.what, output.short(s.text, _WIDTH))
        for s in told.steps
    ]
    output.table(
        f"{request_id} of {told.tenant or 'an unknown tenant'}", ["at", ">", "stage", "what", ""], rows
    )
    if not steps.complete(told.steps):
        output.note("it isn't finished, or not all of it has arrived yet")
    output.note(f"told from {told.source}")
