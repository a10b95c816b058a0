"""Decoding events in commands, and telling them in one line."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from schemas import names
from schemas.codec import Codec
from schemas.records import AuditEvent, DeadLetter, ResultEvent, Usage, UsageEvent
from schemas.registry import Registry, RegistryUnreachable, SchemaStore
from streams.cli.connect import Where
from streams.cli.failure import Unreachable
from streams.cli.output import clock, plain, short

if TYPE_CHECKING:
    from rich.text import Text

KINDS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "results": (names.RESULTS, ResultEvent),
    "usage": (names.USAGE, UsageEvent),
    "audit": (names.AUDIT, AuditEvent),
    "dead-letters": (names.DEAD_LETTERS, DeadLetter),
}


@asynccontextmanager
async def open_codec(where: Where) -> AsyncIterator[Codec]:
    """A codec over the registry of `where`, or without one. Raises Unreachable where it can't serve."""
    if where.registry_url is None:
        yield Codec(SchemaStore())
        return
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        store = SchemaStore(Registry(where.registry_url, http))
        try:
            await store.lookup_all()
        except RegistryUnreachable as error:
            raise Unreachable(
                str(error), "start the stack with `sluice up`, or set SLUICE_REGISTRY_URL"
            ) from error
        except LookupError as error:
            raise Unreachable(
                str(error).split(";")[0], "register the schemas: `sluice topics apply`"
            ) from error
        yield Codec(store)


def as_dict(record: Any, event: msgspec.Struct | None, **more: object) -> dict[str, Any]:
    """An event for `--json`: where it lies, then its fields. Bytes become text or `base64:...`."""
    position = f"{record.topic}-{record.partition}-{record.offset}"
    fields = fields_of(event) if event is not None else {}
    return {"position": position, **more, **fields}


def fields_of(event: msgspec.Struct) -> dict[str, Any]:
    """The fields of an event as JSON knows them."""
    fields: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(bytes, Decimal))
    loaded: dict[str, Any] = json.loads(json.dumps(fields, default=plain))
    return loaded


def headers_of(record: Any) -> dict[str, str]:
    """A Kafka record's headers as text; the last of equal names counts."""
    return {k: (v or b"").decode(errors="replace") for k, v in record.headers}


def tokens(usage: Usage | None) -> str:
    """Tokens as `input+output`, `~` before estimates, `?` for unknown ones."""
    if usage is None:
        return "-"
    parts = (usage.input_uncached, usage.cache_read, usage.cache_write)
    known = [p for p in parts if p is not None]
    sent = str(sum(known)) if known else "?"
    received = "?" if usage.output is None else str(usage.output)
    return f"{'~' if usage.estimated else ''}{sent}+{received}"


def dollars(cost: Decimal | None) -> str:
    """A cost for people."""
    if cost is None:
        return "unpriced"
    return f"${cost:.2f}" if cost >= 1 else f"${cost.normalize():f}"


def seconds(start: int | None, end: int | None) -> str:
    """The time between two moments."""
    if start is None or end is None:
        return "-"
    return f"{(end - start) / 1000:.2f} s" if end - start < 60_000 else f"{(end - start) / 60_000:.1f} min"


def line(event: msgspec.Struct) -> "Text":
    """An event in one line for people."""
    from rich.text import Text

    from streams.cli.output import STATUS_STYLES

    match event:
        case ResultEvent():
            at, head, style = event.completed_at, event.status, STATUS_STYLES.get(event.status, "yellow")
            rest = [event.tenant, event.request_id, *_result_end(event)]
        case UsageEvent():
            at, head, style = event.recorded_at, event.status, STATUS_STYLES.get(event.status, "")
            used = [
                f"attempt {event.attempt}",
                event.model,
                f"{tokens(event.usage)} tokens",
                dollars(event.cost),
            ]
            rest = [
                event.tenant,
                event.request_id,
                *used,
                *([f"corrects {event.corrects}"] if event.corrects else []),
            ]
        case AuditEvent():
            at, head, style = event.at, event.action, "cyan"
            by = f"by {event.actor}" if event.actor.startswith("operator") else None
            told = [event.status if event.status != event.action else None, event.model, event.reason, by]
            rest = [event.tenant or "-", event.request_id or "-", *(t for t in told if t)]
        case DeadLetter():
            at, head, style = event.at, event.reason, "red"
            rest = [event.claimed_tenant or "?", event.id, event.message]
        case _:
            raise TypeError(f"no line for a {type(event).__name__}")
    return Text.assemble((clock(at), "dim"), "  ", (f"{head:<10}", style), "  ", "  ".join(rest))


def _result_end(event: ResultEvent) -> list[str]:
    if event.kind != "terminal":
        return [f"counts: {event.original_request_id}"]
    if event.status == "succeeded":
        took = seconds(event.accepted_at, event.completed_at)
        return [
            event.model or "-",
            took,
            f"{tokens(event.usage)} tokens",
            dollars(event.cost),
            short(event.text),
        ]
    if event.problems:
        return [short("; ".join(p.message for p in event.problems), 120)]
    return [event.error_class or "", short(event.error_message, 120)]
