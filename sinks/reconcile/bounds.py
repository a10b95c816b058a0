"""What of a partition can be compared: up to the ledger's tip, from the first record that Kafka still has. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from sinks.ledger import Partition, State


@dataclass(frozen=True, slots=True)
class Edges:
    """What Kafka has of a partition: positions [first, end); `end` is that of what readers of committed records see."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The positions asked for: [start, end), and `stretches` within them, where only these are wanted."""

    start: int
    end: int
    stretches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compare of a partition.

    `spans`: with Kafka's records. `deleted`: positions asked for that Kafka has deleted and the ledger covers.
    `landed`: the position up to which all has landed. `recreated`: that is beyond the topic's end. `until`: the
    position behind what was asked for.
    """

    at: Partition
    landed: int
    spans: tuple[tuple[int, int], ...]
    deleted: tuple[int, int] | None
    recreated: bool = False
    until: int = 2**63 - 1


def forgotten(dirty: Iterable[tuple[int, int]], first: int) -> tuple[tuple[int, int], ...]:
    """What Kafka, whose records begin at `first`, has deleted of stretches in which an earlier run left gaps."""
    return tuple((start, min(end, first)) for start, end in dirty if start < first)


def landed_to(state: State, at: Partition) -> int:
    """The position before which every record of `at` has landed, 0 where the ledger doesn't know it.

    What an open intent holds is on its way.
    """
    tip = state.tip(at)
    if tip is None:
        return 0
    on_their_way = [r.start for intent in state.open for r in intent.ranges if r.at == at]
    return min([tip.end, *on_their_way])


def plan(at: Partition, landed: int, edges: Edges, asked: Asked) -> Plan:
    """What of `asked` can be compared, now that all below `landed` is in."""
    if landed > edges.end:
        return Plan(at, landed, (), None, recreated=True)
    end = min(landed, asked.end)
    wanted = asked.stretches or ((asked.start, asked.end),)
    spans = [(max(start, edges.first), min(stop, end)) for start, stop in wanted]
    gone = (asked.start, min(edges.first, end))
    return Plan(
        at,
        landed,
        tuple(span for span in spans if span[0] < span[1]),
        gone if gone[0] < gone[1] else None,
        until=asked.end,
    )
