"""Which queued task is called next: lanes by weight, first come first served within a lane.

This is a seam: fairness over tenants and earliest-deadline order come as another `Scheduler`.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol

from schemas.names import LANES, Lane
from streams.services.call.item import Item

WEIGHTS: Final[dict[Lane, int]] = {"interactive": 16, "standard": 4, "batch": 1}

# (when it is ready or 0, order of arrival, the item)
_Entry = tuple[int, int, Item]


class Scheduler(Protocol):
    """Holds tasks that wait for their call."""

    def push(self, item: Item) -> None:
        """Queue an item; it is ready at `item.ready_at` (ms)."""

    def peek(self, now_ms: int) -> Item | None:
        """The item to call next, left in its place; None where none is ready."""

    def pop(self, now_ms: int) -> Item | None:
        """Take the item that `peek` shows."""

    def next_ready(self) -> int | None:
        """When the next item that isn't ready will be (ms)."""

    def take_if(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Take every item of which `wanted` holds; it is asked once of each."""

    def room(self, lane: Lane) -> bool:
        """False while the lane holds as much as it may."""

    def __len__(self) -> int: ...


@dataclass(slots=True)
class _Bound:
    """At most so many items and bytes, and how many there are."""

    most_items: int
    most_bytes: int
    items: int = 0
    size: int = 0

    def add(self, item: Item) -> None:
        """One more."""
        self.items += 1
        self.size += item.size

    def remove(self, item: Item) -> None:
        """One less."""
        self.items -= 1
        self.size -= item.size

    @property
    def room(self) -> bool:
        """True while there may be more."""
        return self.items < self.most_items and self.size < self.most_bytes


class LaneScheduler:
    """Smooth weighted round robin over lanes; `held` says of a tenant that its items stay where they are.

    Items of held tenants and items that aren't ready lie aside, under a bound of their own that all lanes share:
    one busy tenant that is paused must not fill the lane of all. When that bound is reached too, nothing is
    fetched until some of them go.
    """

    def __init__(self, lane: tuple[int, int], aside: tuple[int, int], held: Callable[[str], bool]) -> None:
        """`lane` and `aside`: most items and most bytes."""
        self._held = held
        self._lanes: dict[Lane, list[_Entry]] = {name: [] for name in LANES}
        self._bounds: dict[Lane, _Bound] = {name: _Bound(*lane) for name in LANES}
        self._credit: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._later: list[_Entry] = []
        self._holding: dict[str, list[_Entry]] = {}
        self._aside = _Bound(*aside)
        self._order = count()

    def push(self, item: Item) -> None:
        if item.ready_at:
            self._aside.add(item)
            heapq.heappush(self._later, (item.ready_at, next(self._order), item))
        else:
            self._enter((0, next(self._order), item))

    def peek(self, now_ms: int) -> Item | None:
        lane = self._choose(now_ms)
        return None if lane is None else self._lanes[lane][0][2]

    def pop(self, now_ms: int) -> Item | None:
        chosen = self._choose(now_ms)
        if chosen is None:
            return None
        ready = [lane for lane in LANES if self._lanes[lane]]
        for lane in ready:
            self._credit[lane] += WEIGHTS[lane]
        self._credit[chosen] -= sum(WEIGHTS[lane] for lane in ready)
        return self._leave(chosen)[2]

    def next_ready(self) -> int | None:
        return self._later[0][0] if self._later else None

    def take_if(self, wanted: Callable[[Item], bool]) -> list[Item]:
        taken: list[Item] = []
        for lane, queue in self._lanes.items():
            taken += _take(queue, wanted, self._bounds[lane])
        taken += _take(self._later, wanted, self._aside)
        for tenant, queue in list(self._holding.items()):
            taken += _take(queue, wanted, self._aside)
            if not queue:
                del self._holding[tenant]
        return taken

    def room(self, lane: Lane) -> bool:
        return self._bounds[lane].room and self._aside.room

    def __len__(self) -> int:
        return self._aside.items + sum(bound.items for bound in self._bounds.values())

    def _choose(self, now_ms: int) -> Lane | None:
        self._settle(now_ms)
        ready = [lane for lane in LANES if self._lanes[lane]]
        return max(ready, key=lambda lane: self._credit[lane] + WEIGHTS[lane], default=None)

    def _settle(self, now_ms: int) -> None:
        """Bring items to where they belong now: what became ready, what is held no more, what is held since."""
        while self._later and self._later[0][0] <= now_ms:
            item = heapq.heappop(self._later)[2]
            self._aside.remove(item)
            self._enter((0, next(self._order), item))
        for tenant in [tenant for tenant in self._holding if not self._held(tenant)]:
            for entry in self._holding.pop(tenant):
                self._aside.remove(entry[2])
                self._enter(entry)
        for lane, queue in self._lanes.items():
            while queue and self._held(queue[0][2].task.tenant):
                self._enter(self._leave(lane))

    def _enter(self, entry: _Entry) -> None:
        """Into its lane at its place by arrival, or aside."""
        item = entry[2]
        if self._held(item.task.tenant):
            self._aside.add(item)
            self._holding.setdefault(item.task.tenant, []).append(entry)
        else:
            self._bounds[item.lane].add(item)
            heapq.heappush(self._lanes[item.lane], entry)

    def _leave(self, lane: Lane) -> _Entry:
        entry = heapq.heappop(self._lanes[lane])
        self._bounds[lane].remove(entry[2])
        return entry


def _take(queue: list[_Entry], wanted: Callable[[Item], bool], bound: _Bound) -> list[Item]:
    """The wanted items of a heap, which lie under `bound`; the others stay, a heap again."""
    taken: list[Item] = []
    kept: list[_Entry] = []
    for entry in queue:
        if wanted(entry[2]):
            taken.append(entry[2])
        else:
            kept.append(entry)
    if taken:
        queue[:] = kept
        heapq.heapify(queue)
        for item in taken:
            bound.remove(item)
    return taken
