"""`sluice dead-letters redrive|discard` and `sluice quarantine resolve`. Each act is audited.

Redriving writes the original and the command in one transaction: neither is ever there without the other.
"""

import uuid
from collections.abc import Sequence

from schemas import names
from schemas.codec import Codec
from schemas.config import Config
from schemas.records import Control, DeadLetter, Outcome, ResultEvent
from streams.cli import output
from streams.cli.configuration import required
from streams.cli.connect import where
from streams.cli.control import as_record, command
from streams.cli.events import open_codec
from streams.cli.failure import BadInput, Refused
from streams.cli.kafka import Record, require_topics, write
from streams.cli.letters import find, states

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
        for letter in found:
            _refuse_handled(letter, done)
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
    placed = letter.source_partition if letter.source_topic == names.TENANT_EVENTS else None
    return Record(letter.source_topic, letter.value, letter.key, marked, placed)


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
    """`quarantine resolve`: tells route to retry (with the call task that the letter holds) or to fail."""
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
        _report("resolved", letter, as_json, resolution=resolution)


def _report(done: str, letter: DeadLetter, as_json: bool, **more: str) -> None:
    if as_json:
        output.emit({"id": letter.id, "state": done, **more})
    else:
        output.say(f"{letter.id}: {done}{''.join(f' ({k} {v})' for k, v in more.items())}")
