"""Dead letters that an erasure covers aren't sent again. Their bytes lie on Kafka until its retention ends, so the
orders are read there too: no database need be asked.
"""

from collections.abc import Sequence

from schemas import names
from schemas.codec import Codec
from schemas.config import Config
from schemas.records import Control, DeadLetter
from schemas.signals import Invalid
from sinks.erasure_scope import Order, Scope, orders_letter
from streams.cli.connect import Where
from streams.cli.failure import Refused
from streams.cli.kafka import read
from streams.cli.output import moment


def order_of(control: Control, config: Config) -> Order | None:
    """The order that a command gives, if it is one to erase."""
    if control.command != "erase" or not control.tenant:
        return None
    scope = Scope(control.tenant, control.user or "", control.request_id or "")
    longest = int((config.limits.max_deadline_s + config.defaults.grace_s) * 1000)
    reason = control.reason or ""
    return Order(
        control.event_id, scope, control.at, control.at + longest, control.actor, reason, stands=True
    )


async def orders_on_record(place: Where, codec: Codec, config: Config) -> list[Order]:
    """Every order to erase on `llm.control`, which keeps them for ever."""
    found: list[Order] = []
    async for record in read(place.brokers, names.CONTROL):
        if not (record.key or b"").startswith(b"op:") or record.value is None:
            continue
        try:
            control = await codec.decode_async(record.value, Control)
        except Invalid:
            continue  # classify dead-letters it
        if (order := order_of(control, config)) is not None:
            found.append(order)
    return found


def refuse_erased(letter: DeadLetter, orders: Sequence[Order]) -> None:
    """Raise Refused where an order covers the letter: sent again, its texts would come back."""
    for order in orders:
        if orders_letter(order, letter):
            raise Refused(
                f"{letter.id} can't be redriven: erasure {order.id} of {moment(order.accepted_until)} covers it "
                f"({order.scope})",
                f"`sluice dead-letters discard {letter.id}`",
            )
