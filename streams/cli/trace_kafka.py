"""What only Kafka tells of a request: when it was classified, the copy of its result, and why it waits."""

import time
from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Final, Literal

from schemas import names
from schemas.codec import Codec
from schemas.records import ClassifiedRequest, Control
from schemas.signals import Invalid
from streams.cli.configuration import active
from streams.cli.connect import Where
from streams.cli.events import headers_of, open_codec
from streams.cli.failure import Unreachable
from streams.cli.kafka import Span, read
from streams.cli.output import moment
from streams.cli.steps import ENDS, NOT_BEFORE, REPLY_TO, Step
from streams.services.call.control import ControlState

Scope = tuple[Literal["model", "tenant"], str]
Pauses = Mapping[Scope, Control]
"""The commands by which models and tenants are paused now."""

_DECISIONS: Final = ("accepted", "retried", "quarantined", "resolved")
# The clocks of broker and workers differ by less.
_CLOCKS_MS: Final = 5000


async def more(place: Where, request_id: str, tenant: str, told: list[Step]) -> list[Step]:
    """The further steps of a request of which `told` is known."""
    async with open_codec(place) as codec:
        found = [await _classified(place, codec, request_id, tenant, told)]
        ended = next((s for s in told if s.stage == "result" and s.what in ENDS), None)
        if ended is None:
            found.append(waiting(told, await _paused(place, codec), tenant, _now_ms()))
        elif topic := ended.details.get(REPLY_TO):
            found.append(await _copied(place, request_id, tenant, topic, ended.at))
    return [step for step in found if step is not None]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _classified(
    place: Where, codec: Codec, request_id: str, tenant: str, told: list[Step]
) -> Step | None:
    """The first classification. It lies between the publication and the acceptance."""
    times = {s.what: s.at for s in reversed(told) if s.stage in ("request", "route")}
    if not {"published", "accepted"} <= times.keys():
        return None
    span = Span(tenant=tenant, since=times["published"] - _CLOCKS_MS)
    wanted = request_id.encode()
    async with aclosing(read(place.brokers, names.TENANT_EVENTS, span)) as records:
        async for record in records:
            if record.timestamp > times["accepted"] + _CLOCKS_MS:
                return None
            if record.value is None or wanted not in record.value:
                continue
            try:
                event = await codec.decode_async(record.value, ClassifiedRequest)
            except Invalid:
                continue  # an outcome or a command
            if (event.request.id, event.request.tenant) == (request_id, tenant):
                kept = {"task type": event.task_type, "lane": event.lane}
                refused = {"problems": ", ".join(p.code for p in event.problems)} if event.problems else {}
                return Step(record.timestamp, "classify", "classified", kept | refused)
    return None


async def _copied(place: Where, request_id: str, tenant: str, topic: str, ended_at: int) -> Step:
    """The copy of the result on its reply topic, or that there is none yet."""
    try:
        async with aclosing(read(place.brokers, topic, Span(since=ended_at - _CLOCKS_MS))) as records:
            async for record in records:
                headers = headers_of(record)
                ours = headers.get(names.HEADER_TENANT), headers.get(names.HEADER_REQUEST_ID)
                if ours == (tenant, request_id) and headers.get(names.HEADER_KIND) == "terminal":
                    lies = f"{topic}-{record.partition}-{record.offset}"
                    return Step(record.timestamp, "relay", "copied", {"to": lies})
    except Unreachable as error:
        return _now(f"its result isn't on {topic}: {error.message}")
    return _now(f"its result isn't on {topic} (yet): `sluice status` shows the relay, `sluice dead-letters list` why")


def _now(text: str) -> Step:
    return Step(_now_ms(), "now", "waits", {"": text})


async def _paused(place: Where, codec: Codec) -> Pauses:
    """What is paused, and by which command."""
    found = await active(place.brokers)
    config = found[1] if found else None

    def model_id(name: str) -> str:
        return (config.resolve(name) if config else None) or name

    state = ControlState(model_id)
    last: dict[Scope, Control] = {}
    async for record in read(place.brokers, names.CONTROL):
        try:
            command = await codec.decode_async(record.value, Control) if record.value else None
        except Invalid:
            continue  # classify dead-letters it
        state.apply(record.key, command)
        if command is not None and command.command == "pause":
            scope: Scope = ("model", model_id(command.model)) if command.model else ("tenant", command.tenant or "")
            last[scope] = command
    return {
        (kind, name): command
        for (kind, name), command in last.items()
        if (state.model_paused(name) if kind == "model" else name in state.paused_tenants)
    }


def waiting(told: list[Step], paused: Pauses, tenant: str, now: int) -> Step | None:
    """Why a request that hasn't ended waits; None where nothing is known of it."""
    decided = [s for s in told if s.stage == "route" and s.what in _DECISIONS]
    if not decided:
        return None
    model = next((s.details["model"] for s in reversed(decided) if "model" in s.details), "its model")
    return Step(now, "now", "waits", {"": _why(told, decided[-1], paused, model, tenant, now)})


def _why(told: list[Step], last: Step, paused: Pauses, model: str, tenant: str, now: int) -> str:
    if last.what == "quarantined":
        return "a person must decide: `sluice quarantine list`"
    number = last.details.get("attempt", 1)
    called = [s.what for s in told if s.stage == "call" and s.details.get("attempt") == number]
    if called and called[-1] == "done":
        return "its outcome waits for route: `sluice status` shows how far that is behind"
    if called and called[-1] != "abandoned":
        return f"attempt {number} is at the provider of {model}"
    scopes: tuple[Scope, ...] = (("tenant", tenant), ("model", model))
    for kind, name in scopes:
        if (command := paused.get((kind, name))) is not None:
            why = f" ({command.reason})" if command.reason else ""
            since = f"{moment(command.at)} by {command.actor}{why}"
            return f"{kind} {name} is paused since {since}: `sluice resume {name}`"
    start = last.details.get(NOT_BEFORE)
    if start is not None and datetime.fromisoformat(start).timestamp() * 1000 > now:
        return f"attempt {number} is put off until {start}, since the one before it failed"
    return f"it is in the queue of {model}: `sluice status` shows how long that is"
