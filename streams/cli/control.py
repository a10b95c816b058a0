"""Operators' commands on `llm.control`: pause, resume, cancel. route obeys and audits them."""

import getpass
import time
import uuid
from collections.abc import Iterable
from typing import Literal

from schemas import names
from schemas.codec import Codec
from schemas.config import Config
from schemas.control import control_key
from schemas.records import Control, ResultEvent
from streams.cli import output
from streams.cli.clickhouse import ClickHouse
from streams.cli.configuration import required
from streams.cli.connect import Where, where
from streams.cli.events import line, open_codec
from streams.cli.failure import Ambiguous, NotFound, TimedOut, Unreachable
from streams.cli.kafka import Record, Span, read, write

Kind = Literal["model", "tenant"]
_WAIT_S = 60


def actor() -> str:
    """Who gives a command, for the audit trail: the user's login name."""
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user id may have no name
        return "operator"


def command(name: str, **fields: str | None) -> Control:
    """A command, given now by this user."""
    control = Control(event_id=str(uuid.uuid4()), command=name, at=time.time_ns() // 1_000_000, actor=actor())
    for field, value in fields.items():
        setattr(control, field, value)
    return control


def as_record(control: Control, codec: Codec) -> Record:
    """The Kafka record of a command."""
    return Record(names.CONTROL, codec.encode(control, names.CONTROL), control_key(control))


async def switch(name: str, target: str, kind: str | None, reason: str | None, as_json: bool) -> None:
    """`sluice pause|resume`."""
    place = where()
    _, config = await required(place.brokers)
    kind, target = meant(config, target, kind)
    control = command(name, reason=reason, **{kind: target})
    async with open_codec(place) as codec:
        await write(place.brokers, [as_record(control, codec)])
    if as_json:
        output.emit({"command": name, kind: target, "event_id": control.event_id})
        return
    done = {
        "pause": f"{kind} {target} is paused: no further call starts, work waits until its deadline",
        "resume": f"{kind} {target} goes on",
    }
    output.say(done[name])
    if name == "pause":
        output.say(f"undo it with `sluice resume {target}`", "dim")


def meant(config: Config, name: str, kind: str | None) -> tuple[Kind, str]:
    """Whether `name` is a model (or its alias) or a tenant. Raises NotFound, or Ambiguous where it is both."""
    model, is_tenant = config.resolve(name), name in config.tenants
    if kind == "model" or (kind is None and model is not None and not is_tenant):
        if model is None:
            raise NotFound(f"no model {name!r} is configured", _known("models", config.models))
        return "model", model
    if kind == "tenant" or (kind is None and is_tenant and model is None):
        if not is_tenant:
            raise NotFound(f"no tenant {name!r} is configured", _known("tenants", config.tenants))
        return "tenant", name
    if model is not None:
        raise Ambiguous(f"{name!r} is a model and a tenant", "say which with --model or --tenant")
    known = f"{_known('models', config.models)}; {_known('tenants', config.tenants)}"
    raise NotFound(f"{name!r} is neither a model nor a tenant", known)


def _known(what: str, entries: Iterable[str]) -> str:
    listed = sorted(entries)
    more = ", ..." if len(listed) > 8 else ""
    return f"{what}: {', '.join(listed[:8])}{more}"


async def cancel_request(
    request_id: str, tenant: str | None, reason: str | None, *, wait: bool, as_json: bool
) -> None:
    """`sluice cancel`."""
    place = where()
    owner = tenant or await tenant_of(place, request_id)
    control = command("cancel", tenant=owner, request_id=request_id, reason=reason)
    async with open_codec(place) as codec:
        await write(place.brokers, [as_record(control, codec)])
        result = await _terminal(place, codec, owner, request_id) if wait else None
    if as_json:
        ended = {"status": result.status} if result else {}
        output.emit({"command": "cancel", "tenant": owner, "request_id": request_id, **ended})
    elif result is not None:
        output.console().print(line(result))
    else:
        output.say(f"cancel of {request_id} is sent; `sluice trace {request_id}` shows what came of it")


async def tenant_of(place: Where, request_id: str) -> str:
    """The tenant of a request, from ClickHouse. Raises NotFound, or Ambiguous where several have the id."""
    sql = "SELECT DISTINCT tenant FROM requests WHERE request_id = {id:String}"
    try:
        async with ClickHouse(place, timeout_s=15) as clickhouse:
            rows = await clickhouse.rows(sql, {"id": request_id})
    except Unreachable as error:
        raise Unreachable(
            f"the tenant of {request_id} isn't known: {error.message}", "say --tenant"
        ) from error
    if not rows:
        raise NotFound(f"no request {request_id} in ClickHouse (yet)", "say --tenant, or check the id")
    if len(rows) > 1:
        tenants = ", ".join(str(r["tenant"]) for r in rows)
        raise Ambiguous(f"several tenants have a request {request_id}: {tenants}", "say --tenant")
    return str(rows[0]["tenant"])


async def _terminal(place: Where, codec: Codec, tenant: str, request_id: str) -> ResultEvent:
    """The terminal result: what is there already, or what comes within a minute."""
    import asyncio

    try:
        async with asyncio.timeout(_WAIT_S):
            async for record in read(place.brokers, names.RESULTS, Span(follow=True, tenant=tenant)):
                headers = dict(record.headers)
                if headers.get(names.HEADER_REQUEST_ID) != request_id.encode():
                    continue
                event = await codec.decode_async(record.value, ResultEvent)
                if event.tenant == tenant and event.kind == "terminal":
                    return event
    except TimeoutError:
        pass
    message = f"request {request_id} has no terminal result after {_WAIT_S} s"
    raise TimedOut(message, "`sluice status` says whether the workers run")
