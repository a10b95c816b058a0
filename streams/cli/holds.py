"""`sluice legal-hold add|list|release`: what neither retention nor an erasure may remove. Each act is audited."""

import uuid
from dataclasses import asdict
from typing import Any

from sinks.erasure import Erasures
from sinks.erasure_scope import TABLES_WITH_TEXTS, Hold, Order, Scope
from streams.cli import output
from streams.cli.connect import where
from streams.cli.control import actor
from streams.cli.erasure import audit, consent, control_of, opened, reason_of
from streams.cli.failure import NotFound

_WHAT = "legal holds can't be managed"


async def add(scope: Scope, reason: str | None, as_json: bool) -> None:
    """`add`. The hold counts from its first row in ClickHouse on; one of the same scope and reason is taken up."""
    why, place = reason_of(reason), where()
    async with opened(place, _WHAT) as erasures:
        same = [h for h in await erasures.holds() if h.scope == scope and h.reason == why]
        hold = same[0] if same else Hold(uuid.uuid4().hex, scope, actor(), why, await erasures.now())
        await erasures.note_hold(hold, "placed", hold.who, why)
        await audit(place, control_of("hold", hold.id, scope, hold.at, hold.who, why))
        await erasures.mark_held()
        kept = await erasures.held(hold)
        gone = [o for o in await erasures.orders() if o.scope.covers(scope) or scope.covers(o.scope)]
    if as_json:
        output.emit({"event": "placed", **_fields(hold), **kept})
        return
    output.say(f"legal hold {hold.id} on {scope}: {_told(kept)}, and what arrives from now on", output.GOOD)
    for order in gone:
        output.note(
            f"erasure {order.id} of {output.moment(order.at)} came before: what it has erased is gone"
        )
    output.note(
        "Kafka deletes by its own retention, and backups by theirs: docs/erasure.md says what else to keep"
    )


async def show(as_json: bool) -> None:
    """`list`: the holds in force."""
    async with opened(where(), _WHAT) as erasures:
        found = [(hold, await erasures.held(hold)) for hold in await erasures.holds()]
    if as_json:
        for hold, kept in found:
            output.emit({**_fields(hold), **kept})
    elif not found:
        output.note("no legal hold is in force (analytics.legal_holds has the released ones)")
    else:
        output.table(
            None,
            ["id", "on", "since", "by", "reason", ">texts", ">dead letters"],
            [
                (h.id, str(h.scope), output.moment(h.at), h.who, h.reason, k["bodies"], k["dead_letters"])
                for h, k in found
            ],
        )


async def release(hold_id: str, reason: str | None, *, yes: bool, as_json: bool) -> None:
    """`release`: then retention goes on, and orders to erase that the hold kept off are carried out."""
    why, place = reason_of(reason), where()
    async with opened(place, _WHAT) as erasures:
        hold = next((h for h in await erasures.holds() if h.id == hold_id), None)
        if hold is None:
            raise NotFound(f"no legal hold {hold_id} is in force", "`sluice legal-hold list` shows them")
        kept = await erasures.held(hold)
        if not yes:
            output.note(f"it keeps {_told(kept)}")
        consent(f"Release the hold on {hold.scope}, so that retention and erasures go on?", yes)
        await erasures.note_hold(hold, "release_ordered", actor(), why)
        now = await erasures.now()
        await audit(place, control_of("release", f"{hold.id}-release", hold.scope, now, actor(), why))
        await erasures.note_hold(hold, "released", actor(), why)
        await _go_on(erasures, hold, kept, as_json)


async def _go_on(erasures: Erasures, hold: Hold, kept: dict[str, int], as_json: bool) -> None:
    orders = [o for o in await erasures.orders() if o.stands and o.scope.tenant == hold.scope.tenant]
    before = [await _erased(erasures, order) for order in orders]
    await erasures.apply()
    more = {o.id: n for o, b in zip(orders, before, strict=True) if (n := await _erased(erasures, o) - b)}
    if as_json:
        output.emit({"event": "released", **_fields(hold), **kept, "erased": more})
        return
    output.say(f"legal hold {hold.id} on {hold.scope} is released: it kept {_told(kept)}", output.GOOD)
    for id_, count in more.items():
        output.say(f"erasure {id_} has been carried out on {count} of them, which the hold had kept from it")


async def _erased(erasures: Erasures, order: Order) -> int:
    return sum([await erasures.erased(order, table) for table in TABLES_WITH_TEXTS])


def _told(kept: dict[str, int]) -> str:
    return f"{kept['bodies']} texts and the original bytes of {kept['dead_letters']} dead letters"


def _fields(hold: Hold) -> dict[str, Any]:
    scope = {k: v for k, v in asdict(hold.scope).items() if v}
    return {
        "id": hold.id,
        **scope,
        "who": hold.who,
        "reason": hold.reason,
        "placed_at": output.moment(hold.at),
    }
