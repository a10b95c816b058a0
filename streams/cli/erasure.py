"""`sluice erase`: the texts of a tenant, a user or a request, on record and audited; and where else they lie.

The order is noted in ClickHouse first (who may not write there is refused before anything else is done), then published
on `llm.control`, where route audits it, then carried out. One that was broken off is taken up by the next run, and by
every sink.
"""

import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from schemas.config import Config
from schemas.records import Control
from sinks.clickhouse import ClickHouse
from sinks.erasure import Erasures, Found, OnCluster
from sinks.erasure_scope import Hold, Order, Scope
from streams.cli import output
from streams.cli.clickhouse_admin import access_of, managing
from streams.cli.configuration import required
from streams.cli.connect import Where, where
from streams.cli.control import actor, as_record
from streams.cli.elsewhere import Copies, copies_of
from streams.cli.events import open_codec
from streams.cli.failure import BadInput, NotFound, Refused, Unwanted
from streams.cli.kafka import write

_MOST_NAME: Final = 256
_MOST_REASON: Final = 4096
_LONG_S: Final = 3600
_MEANINGS: Final = {"bodies": "texts of results", "dead_letters": "dead letters' original bytes"}


@dataclass(frozen=True)
class Wanted:
    """What was asked for. Without `yes` a person is asked."""

    scope: Scope
    reason: str | None
    dry_run: bool
    yes: bool
    as_json: bool


def scope_of(tenant: str, user: str | None, request: str | None) -> Scope:
    """The scope of options. Raises BadInput for what can't be a name."""
    for option, name in (("--tenant", tenant), ("--user", user), ("--request", request)):
        if name is not None and (not 0 < len(name) <= _MOST_NAME or not name.isprintable()):
            raise BadInput(f"{option} {name!r} is no name", f"give 1 to {_MOST_NAME} printable characters")
    if user is not None and request is not None:
        raise BadInput("--user and --request exclude each other", "a request has one user: leave --user out")
    return Scope(tenant, user or "", request or "")


def reason_of(reason: str | None) -> str:
    """The reason, which is wanted. Raises BadInput."""
    if not reason or not reason.strip() or len(reason) > _MOST_REASON:
        raise BadInput(
            "say why, with --reason",
            f"the audit trail keeps it; up to {_MOST_REASON} characters, no text of theirs",
        )
    return reason.strip()


@asynccontextmanager
async def opened(place: Where, what: str) -> AsyncIterator[Erasures]:
    """The orders and holds of the database. Raises Failure in the store's errors' place."""
    async with managing(place, what):
        clickhouse = ClickHouse(access_of(place), timeout_s=_LONG_S)
        try:
            erasures = Erasures(clickhouse)
            await erasures.check()
            yield erasures
        except OnCluster as error:
            raise Refused(
                f"{what}: {error}", "docs/erasure.md says what its administrator does instead"
            ) from error
        finally:
            await clickhouse.close()


def control_of(name: str, event_id: str, scope: Scope, at: int, who: str, reason: str) -> Control:
    """The audited command about an erasure or a hold. The same again is obeyed once."""
    return Control(
        event_id=event_id,
        command=name,
        at=at,
        actor=who,
        tenant=scope.tenant,
        user=scope.user or None,
        request_id=scope.request_id or None,
        reason=reason,
    )


async def audit(place: Where, control: Control) -> None:
    """Publish a command; durable when this returns."""
    async with open_codec(place) as codec:
        await write(place.brokers, [as_record(control, codec)])


def consent(question: str, yes: bool) -> None:
    """Ask on a terminal. Raises BadInput where nobody can be asked, Refused where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput("nobody can be asked here", "say --yes, or --dry-run to look only")
    output.note(f"{question} Type yes to go on:")
    if input().strip().lower() != "yes":
        raise Refused("nothing was done")


async def erase(wanted: Wanted) -> None:
    """`sluice erase`. Raises Unwanted where a legal hold has kept something."""
    reason = reason_of(wanted.reason) if not wanted.dry_run else wanted.reason or ""
    place = where()
    _, config = await required(place.brokers)
    async with opened(place, f"{wanted.scope} can't be erased") as erasures:
        order = await _order(erasures, wanted.scope, reason, config)
        holds = await erasures.holds()
        found = await erasures.survey(order)
        copies = await copies_of(place.brokers, config.tenants.get(wanted.scope.tenant), order.accepted_until)
        await _refuse(erasures, order, found, holds, config)
        if not wanted.as_json:
            _tell_found(wanted, order, found, await erasures.nameless_letters())
        if wanted.dry_run:
            _tell(wanted, "would_erase", order, found, copies, await erasures.old_parts_s())
            return
        consent(f"Erase the texts of {wanted.scope} for good?", wanted.yes)
        await _carry_out(place, erasures, order)
        held = [f for f in await erasures.survey(order) if f.held]
        erased = [Found(f.table, await erasures.erased(order, f.table), 0, f.held) for f in found]
        _tell(wanted, "erased", order, erased, copies, await erasures.old_parts_s())
    if held:
        kept = sum(f.held for f in held)
        raise Unwanted(
            f"{kept} rows are under a legal hold and were kept; when it is released, they are erased",
            "`sluice legal-hold list` shows the holds",
        )


async def _order(erasures: Erasures, scope: Scope, reason: str, config: Config) -> Order:
    """A new order, or one for the same that was broken off."""
    for each in await erasures.orders():
        if each.scope == scope and not each.finished:
            until = output.moment(each.accepted_until)
            output.note(
                f"taking up erasure {each.id}, which isn't finished: for requests accepted after {until}, "
                "run this again when it is"
            )
            return each
    now = await erasures.now()
    longest = int((config.limits.max_deadline_s + config.defaults.grace_s) * 1000)
    return Order(uuid.uuid4().hex, scope, now, now + longest, actor(), reason, now)


async def _refuse(
    erasures: Erasures, order: Order, found: Sequence[Found], holds: Sequence[Hold], config: Config
) -> None:
    """Raise Refused for what is held as a whole, NotFound for what nobody knows."""
    nothing = not any(f.rows for f in found)
    covering = [h for h in holds if h.scope.covers(order.scope)]
    if covering or (nothing and any(f.held for f in found)):
        named = covering or [h for h in holds if h.scope.tenant == order.scope.tenant]
        told = "; ".join(f"{h.id} ({h.scope}: {h.reason})" for h in named)
        raise Refused(
            f"{order.scope} is under legal hold {told}",
            "nothing was erased; `sluice legal-hold release ID --reason TEXT` ends a hold",
        )
    configured = not order.scope.user and not order.scope.request_id and order.scope.tenant in config.tenants
    if (
        nothing
        and not any(f.held for f in found)
        and not configured
        and not await erasures.is_known(order.scope)
    ):
        raise NotFound(
            f"there is no request and no dead letter of {order.scope}", "check the spelling: case counts"
        )


async def _carry_out(place: Where, erasures: Erasures, order: Order) -> None:
    await erasures.note(order, "ordered")
    if not order.stands:
        at = order.accepted_until
        await audit(place, control_of("erase", order.id, order.scope, at, order.who, order.reason))
        await erasures.note(order, "audited")
    await erasures.carry_out(order)


# -- telling ---------------------------------------------------------------------------------------------------


def _tell_found(wanted: Wanted, order: Order, found: Sequence[Found], nameless: int) -> None:
    output.table(
        f"{wanted.scope}, accepted until {output.moment(order.accepted_until)}",
        ["what", ">to erase", ">bytes", ">under legal hold"],
        [(_MEANINGS[f.table], f.rows, output.size(f.size), f.held) for f in found],
    )
    if nameless:
        output.note(
            f"{nameless} dead letters name no tenant; those whose bytes hold the name are among the above. "
            "`sluice dead-letters list` shows them"
        )


def _after(seconds: int) -> str:
    return f"{seconds // 60} minutes after" if seconds >= 60 else "within a minute"


def _tell(
    wanted: Wanted,
    event: str,
    order: Order,
    found: Sequence[Found],
    copies: Sequence[Copies],
    old_parts_s: int,
) -> None:
    if wanted.as_json:
        fields: dict[str, Any] = {"event": event, "id": order.id if event == "erased" else None}
        scope = {k: v for k, v in asdict(order.scope).items() if v}
        until = output.moment(order.accepted_until)
        tables = {f.table: {"rows": f.rows, "held": f.held} for f in found}
        elsewhere = [{**asdict(c), "gone_by": output.moment(c.gone_by)} for c in copies]
        output.emit(
            {
                **fields, **scope, "who": order.who, "reason": order.reason, "accepted_until": until, **tables,
                "elsewhere": elsewhere, "files_kept_s": old_parts_s,
            }
        )  # fmt: skip
        return
    if event == "erased":
        told = ", ".join(f"{f.rows} {_MEANINGS[f.table]}" for f in found)
        output.say(f"erasure {order.id}: {told}", output.GOOD)
        output.say("texts of these requests that come in later are emptied as they arrive", "dim")
    output.table(
        "what this command doesn't reach",
        ["where", "what", "kept", "gone by"],
        [(c.topic, c.what, c.rule, output.moment(c.gone_by)) for c in copies],
    )
    output.say(
        f"ClickHouse deletes the files that an erasure has replaced {_after(old_parts_s)}. Backups, the publishers' "
        "own stores, providers and readers of reply topics keep what they have: docs/erasure.md"
    )
    if event == "would_erase":
        output.say("nothing was erased (--dry-run)", output.MEH)
