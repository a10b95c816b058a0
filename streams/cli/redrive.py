"""`sluice dead-letters redrive|discard` and `sluice quarantine resolve`. Each act is audited.

Redriving writes the original and the command in one transaction: neither is ever there without the other.
"""

import asyncio
import uuid
from collections.abc import Sequence

from schemas import ids, names
from schemas.codec import Codec
from schemas.config import Config
from schemas.letters import truncated
from schemas.records import AuditEvent, ClassifiedRequest, Control, DeadLetter, Outcome, ResultEvent
from schemas.signals import Invalid
from streams.cli import output
from streams.cli.configuration import required
from streams.cli.connect import Where, where
from streams.cli.control import as_record, command
from streams.cli.erased import orders_on_record, refuse_erased
from streams.cli.events import open_codec
from streams.cli.failure import BadInput, Refused, TimedOut
from streams.cli.kafka import Record, Span, read, require_topics, write
from streams.cli.letters import find, states

_WAIT_S = 60
_CLOCKS_DIFFER_MS = 60_000
REDRIVEN_HEADER = "sluice-redriven-from"
# Sending these again is safe: their readers take a repeated event as one.
_REDRIVABLE = {names.REQUESTS, names.TENANT_EVENTS, names.CONTROL, names.FEEDBACK}


async def redrive_all(letter_ids: Sequence[str], reason: str | None, as_json: bool) -> None:
    """`redrive`: each letter in a transaction of its own, after all were found to be redrivable."""
    place = where()
    _, config = await required(place.brokers)
    async with open_codec(place) as codec:
        done = await states(place, codec)
        found = [await find(place, codec, x) for x in letter_ids]
        again = [(letter, await _original(codec, letter)) for letter in found]
        orders = await orders_on_record(place, codec, config)
        for letter in found:
            _refuse_handled(letter, done)
            refuse_erased(letter, orders)
        await require_topics(place.brokers, {original.topic for _, original in again})
        for letter, original in again:
            control = as_record(_about("redrive", letter, reason, config), codec)
            await write(place.brokers, [original, control], f"{place.app_id}-cli-{uuid.uuid4()}")
            _report("redriven", letter, as_json, to=original.topic)


async def _original(codec: Codec, letter: DeadLetter) -> Record:
    """The record to send again. Raises Refused where sending it again would do harm."""
    if letter.kind == "quarantine":
        raise Refused(
            f"{letter.id} is quarantined", f"`sluice quarantine resolve {letter.id} --retry` or `--fail`"
        )
    if (cut := truncated(letter)) is not None:
        place = f"{letter.source_topic}, partition {letter.source_partition}, offset {letter.source_offset}"
        raise Refused(
            f"{letter.id} can't be redriven: it doesn't hold the original's {cut} whole",
            f"the original lies at {place} until retention ends: have whoever published it publish it again, then "
            f"`sluice dead-letters discard {letter.id}`",
        )
    headers = tuple((h.key, h.value or b"") for h in letter.headers)
    marked = (*headers, (REDRIVEN_HEADER, letter.id.encode()))
    if letter.source_topic == names.RESULTS and letter.stage == "relay":
        result = await codec.decode_async(letter.value, ResultEvent)
        return Record(result.reply_topic or "", letter.value, letter.key, headers)
    if letter.source_topic not in _REDRIVABLE or letter.value is None:
        why = (
            "it has no value"
            if letter.value is None
            else f"an event of {letter.source_topic} must not come twice"
        )
        raise Refused(f"{letter.id} can't be redriven: {why}", f"`sluice dead-letters discard {letter.id}`")
    if await _ended_with_it(codec, letter):
        raise Refused(
            f"{letter.id} can't be redriven: its request ended as failed when route gave it up",
            f"submit the request anew under another id; then `sluice dead-letters discard {letter.id}`",
        )
    placed = letter.source_partition if letter.source_topic == names.TENANT_EVENTS else None
    return Record(letter.source_topic, letter.value, letter.key, marked, placed)


async def _ended_with_it(codec: Codec, letter: DeadLetter) -> bool:
    """Whether route ended a request with this letter, so that sending it again would be taken for a repetition."""
    if letter.stage != "route" or letter.reason != "poison":
        return False
    try:
        await codec.decode_async(letter.value, ClassifiedRequest)
    except Invalid:
        return False
    return True


def _refuse_handled(letter: DeadLetter, done: dict[str, str]) -> None:
    if (state := done.get(letter.id)) is not None:
        raise Refused(f"{letter.id} was {state} already", "`sluice dead-letters list` shows those still open")


def _about(
    name: str, letter: DeadLetter, reason: str | None, config: Config, resolution: str | None = None
) -> Control:
    """The command about a letter. A tenant that isn't configured is left out: the claim proves nothing."""
    tenant = letter.claimed_tenant if letter.claimed_tenant in config.tenants else None
    control = command(name, tenant=tenant, request_id=letter.request_id, reason=reason)
    control.dead_letter_id, control.resolution = letter.id, resolution
    return control


async def discard_all(letter_ids: Sequence[str], reason: str | None, as_json: bool) -> None:
    """`discard`."""
    place = where()
    _, config = await required(place.brokers)
    async with open_codec(place) as codec:
        done = await states(place, codec)
        found = [await find(place, codec, x) for x in letter_ids]
        for letter in found:
            _refuse_handled(letter, done)
            if letter.kind == "quarantine":
                fix = f"`sluice quarantine resolve {letter.id} --fail`"
                raise Refused(
                    f"{letter.id} holds an open request: discarding would leave it without an end", fix
                )
        await write(place.brokers, [as_record(_about("discard", x, reason, config), codec) for x in found])
        for letter in found:
            _report("discarded", letter, as_json)


async def resolve_one(letter_id: str, resolution: str, reason: str | None, as_json: bool) -> None:
    """`quarantine resolve`: tells route to retry (with the call task that the letter holds) or to fail, and waits
    for what route makes of it. Raises Refused where the request has ended, as it does at its deadline."""
    place = where()
    _, config = await required(place.brokers)
    async with open_codec(place) as codec:
        letter = await find(place, codec, letter_id)
        if letter.kind != "quarantine":
            raise BadInput(
                f"{letter_id} isn't quarantined but {letter.reason}", "use `sluice dead-letters redrive`"
            )
        _refuse_handled(letter, await states(place, codec))
        control = _about("resolve", letter, reason, config, resolution)
        outcome = await codec.decode_async(letter.value, Outcome)
        control.tenant, control.request_id, control.model = outcome.tenant, outcome.request_id, None
        if resolution == "retry":
            control.task = outcome.task
        await write(place.brokers, [as_record(control, codec)])
        verdict = await _verdict(place, codec, control)
    if verdict.status == "refused":
        raise Refused(
            f"{letter.id} isn't resolved: {verdict.reason}",
            f"`sluice trace {control.request_id}` tells its story",
        )
    _report("resolved", letter, as_json, resolution=resolution)


async def _verdict(place: Where, codec: Codec, control: Control) -> AuditEvent:
    """What route says of a command, in the audit event about it. Raises TimedOut."""
    tenant = control.tenant or ""
    event_id = ids.event_id(tenant, control.event_id, "audit.resolved").encode()
    span = Span(tenant=tenant, since=control.at - _CLOCKS_DIFFER_MS, follow=True)
    try:
        async with asyncio.timeout(_WAIT_S):
            async for record in read(place.brokers, names.AUDIT, span):
                if dict(record.headers).get(names.HEADER_EVENT_ID) == event_id:
                    return await codec.decode_async(record.value, AuditEvent)
    except TimeoutError:
        pass
    message = f"the command is sent, and route has said nothing of it after {_WAIT_S} s"
    raise TimedOut(message, "`sluice status` says whether the workers run")


def _report(done: str, letter: DeadLetter, as_json: bool, **more: str) -> None:
    if as_json:
        output.emit({"id": letter.id, "state": done, **more})
    else:
        output.say(f"{letter.id}: {done}{''.join(f' ({k} {v})' for k, v in more.items())}")
