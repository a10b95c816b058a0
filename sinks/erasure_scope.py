"""What an erasure or a legal hold is about, and which rows that is: as SQL for those that are there, and in Python for
those that arrive. Pure.

An erasure is a standing order. It covers the texts of requests accepted until it was given, and so does it when such a
text comes in later: of a request that was open, by an intent that is repeated, by a repair. A hold covers whatever
comes, and what it covers no erasure touches.

A dead letter often names no tenant, and no user at all. Whose it is, its bytes tell: a name stands in an Avro record as
its length and its bytes, in JSON within quotes, and as a whole in a key or header.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from schemas import names
from schemas.records import DeadLetter, ResultEvent
from sinks.store import Row
from sinks.tables import TABLES

TABLES_WITH_TEXTS: Final = ("bodies", "dead_letters")


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant's texts, or only those of one of its users, or of one request; empty means all."""

    tenant: str
    user: str = ""
    request_id: str = ""

    def covers(self, other: "Scope") -> bool:
        """Whether all that `other` means is meant by this one too, as far as names tell."""
        mine, others = (self.user, self.request_id), (other.user, other.request_id)
        return self.tenant == other.tenant and all(not m or m == o for m, o in zip(mine, others, strict=True))

    def __str__(self) -> str:
        if self.request_id:
            return f"request {self.request_id} of tenant {self.tenant}"
        return f"user {self.user} of tenant {self.tenant}" if self.user else f"tenant {self.tenant}"


@dataclass(frozen=True, slots=True)
class Order:
    """An order to erase; times in ms. `stands`: its audit event is durable, so that it may be carried out.

    `touched` is when something was last put on record about it.
    """

    id: str
    scope: Scope
    accepted_until: int
    letters_until: int
    who: str
    reason: str
    at: int = 0
    stands: bool = False
    finished: bool = False
    touched: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold in force; `at` (ms) is when it was placed."""

    id: str
    scope: Scope
    who: str
    reason: str
    at: int = 0


# -- rows that are there --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Conditions:
    """Makes conditions for rows of a table; every value is a parameter."""

    parameters: dict[str, Any] = field(default_factory=dict)

    def of_order(self, table: str, order: Order) -> str:
        """The rows that an order covers, held ones among them."""
        if table == "bodies":
            return self._bodies(order.scope, order.accepted_until)
        until, late = (self._value(t, "Int64") for t in (order.accepted_until, order.letters_until))
        in_time = (
            f"(ifNull(source_timestamp, at) <= fromUnixTimestamp64Milli({until}) OR "
            f"(NOT endsWith(source_topic, {self._value(names.REQUESTS)}) "
            f"AND at <= fromUnixTimestamp64Milli({late})))"
        )
        return f"({self._letters(order.scope)} AND {in_time})"

    def of_holds(self, table: str, holds: Iterable[Hold]) -> str:
        """The rows that any of `holds` covers."""
        of = self._bodies if table == "bodies" else self._letters
        return "(" + (" OR ".join(of(hold.scope) for hold in holds) or "false") + ")"

    def _bodies(self, scope: Scope, accepted_until: int | None = None) -> str:
        # On whose behalf a request was made and when it was accepted, the row of its result says, made of one record.
        wanted = [f"tenant = {self._value(scope.tenant)}"]
        if scope.request_id:
            wanted.append(f"request_id = {self._value(scope.request_id)}")
        rows = " AND ".join(wanted)
        if not scope.user and accepted_until is None:
            return f"({rows})"
        if scope.user:
            wanted.append(f"`user` = {self._value(scope.user)}")
        if accepted_until is not None:
            wanted.append(f"accepted_at <= fromUnixTimestamp64Milli({self._value(accepted_until, 'Int64')})")
        place = "kafka_topic, kafka_partition, kafka_offset"
        results = f"SELECT {place} FROM {{database}}.results WHERE {' AND '.join(wanted)}"
        return f"({rows} AND ({place}) IN ({results}))"

    def _letters(self, scope: Scope) -> str:
        claimed, named = self._value(scope.tenant), self._named(scope.tenant)
        tenant = f"(claimed_tenant = {claimed} OR (claimed_tenant = '' AND {named}))"
        if scope.request_id:
            request = f"(request_id = {self._value(scope.request_id)} OR {self._named(scope.request_id)})"
            return f"({tenant} AND {request})"
        return f"({tenant} AND {self._named(scope.user)})" if scope.user else tenant

    def _named(self, name: str) -> str:
        whole = self._value(name)
        needles = ", ".join(f"unhex({self._value(n.hex())})" for n in needles_of(name))
        return (
            f"(multiSearchAny(ifNull(value, ''), [{needles}]) OR ifNull(`key`, '') = {whole} "
            f"OR arrayExists(h -> ifNull(h.2, '') = {whole}, headers))"
        )

    def _value(self, value: object, kind: str = "String") -> str:
        name = f"e{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"


def needles_of(name: str) -> tuple[bytes, bytes]:
    """How `name` stands in an Avro record (a zigzag varint of its length before it) and in JSON."""
    text = name.encode()
    size, length = len(text) << 1, bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes(length) + text, msgspec.json.encode(name)


# -- rows that arrive -----------------------------------------------------------------------------------------


def is_named(letter: DeadLetter, name: str) -> bool:
    """Whether the original of a letter holds `name`."""
    value, whole = letter.value or b"", name.encode()
    return (
        any(needle in value for needle in needles_of(name))
        or letter.key == whole
        or any(header.value == whole for header in letter.headers)
    )


def holds_letter(scope: Scope, letter: DeadLetter) -> bool:
    """Whether a letter is what `scope` means, whenever it was made."""
    if letter.claimed_tenant:
        if letter.claimed_tenant != scope.tenant:
            return False
    elif not is_named(letter, scope.tenant):
        return False
    if scope.request_id:
        return letter.request_id == scope.request_id or is_named(letter, scope.request_id)
    return not scope.user or is_named(letter, scope.user)


def orders_letter(order: Order, letter: DeadLetter) -> bool:
    """Whether an order covers a letter."""
    stamp = letter.at if letter.source_timestamp is None else letter.source_timestamp
    in_time = stamp <= order.accepted_until or (
        not letter.source_topic.endswith(names.REQUESTS) and letter.at <= order.letters_until
    )
    return in_time and holds_letter(order.scope, letter)


def _holds_result(scope: Scope, event: ResultEvent) -> bool:
    return scope.covers(Scope(event.tenant, event.user or "", event.request_id))


Rows = list[tuple[str, Row]]


@dataclass(frozen=True)
class Standing:
    """The orders that stand, the oldest first, and the holds in force."""

    orders: Sequence[Order] = ()
    holds: Sequence[Hold] = ()

    def apply(self, event: msgspec.Struct, rows: Rows) -> Rows:
        """`rows`, which were made of `event`, as they may be kept: held, or emptied."""
        if not self.orders and not self.holds:
            return rows
        if isinstance(event, ResultEvent):
            held = any(_holds_result(h.scope, event) for h in self.holds)
            orders = (
                o
                for o in self.orders
                if event.accepted_at <= o.accepted_until and _holds_result(o.scope, event)
            )
            return [_kept(*each, held, next(orders, None)) if each[0] == "bodies" else each for each in rows]
        if isinstance(event, DeadLetter):
            held = any(holds_letter(h.scope, event) for h in self.holds)
            orders = (o for o in self.orders if orders_letter(o, event))
            return [_kept(*each, held, next(orders, None)) for each in rows]
        return rows


_EMPTY: Final[dict[str, dict[str, Any]]] = {
    "bodies": {"text": "", "parts": ""},
    "dead_letters": {"key": None, "value": None, "headers": []},
}


def _kept(table: str, row: Row, held: bool, order: Order | None) -> tuple[str, Row]:
    changed: dict[str, Any] = {"held": True} if held else {}
    if order is not None and not held:
        changed = {**_EMPTY[table], "erasure": order.id}
    if not changed:
        return table, row
    return table, tuple(
        changed.get(name, value) for name, value in zip(TABLES[table].columns, row, strict=True)
    )
