"""Which queued task is called next: lanes by weight, first come first served within a lane.

This is a seam: fairness over tenants and earliest-deadline order come as another `Scheduler`.
"""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final, Protocol

from schemas.names import LANES, Lane
from streams.services.call.item import Item

WEIGHTS: Final[dict[Lane, int]] = {"interactive": 16, "standard": 4, "batch": 1}


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
        """Take every item of which `wanted` holds."""

    def room(self, lane: Lane) -> bool:
        """False while the lane holds as much as it may."""

    def __len__(self) -> int: ...


class LaneScheduler:
    """Smooth weighted round robin over lanes; `held` says of a tenant that its items stay where they are."""

    def __init__(self, lane_items: int, lane_bytes: int, held: Callable[[str], bool]) -> None:
        self._lane_items, self._lane_bytes, self._held = lane_items, lane_bytes, held
        self._lanes: dict[Lane, deque[Item]] = {lane: deque() for lane in LANES}
        self._credit: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._bytes: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._counts: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._later: list[tuple[int, int, Item]] = []
        self._order = count()

    def push(self, item: Item) -> None:
        self._bytes[item.lane] += item.size
        self._counts[item.lane] += 1
        if item.ready_at:
            heapq.heappush(self._later, (item.ready_at, next(self._order), item))
        else:
            self._lanes[item.lane].append(item)

    def peek(self, now_ms: int) -> Item | None:
        self._ripen(now_ms)
        lane = self._choose()
        return None if lane is None else self._lanes[lane][self._first(lane)]

    def pop(self, now_ms: int) -> Item | None:
        self._ripen(now_ms)
        chosen = self._choose()
        if chosen is None:
            return None
        ready = [lane for lane in LANES if self._first(lane) >= 0]
        for lane in ready:
            self._credit[lane] += WEIGHTS[lane]
        self._credit[chosen] -= sum(WEIGHTS[lane] for lane in ready)
        place = self._first(chosen)
        item = self._lanes[chosen][place]
        del self._lanes[chosen][place]
        self._forget(item)
        return item

    def next_ready(self) -> int | None:
        return self._later[0][0] if self._later else None

    def take_if(self, wanted: Callable[[Item], bool]) -> list[Item]:
        taken: list[Item] = []
        for lane, queue in self._lanes.items():
            if any(map(wanted, queue)):
                taken += [item for item in queue if wanted(item)]
                self._lanes[lane] = deque(item for item in queue if not wanted(item))
        if any(wanted(item) for _, _, item in self._later):
            taken += [item for _, _, item in self._later if wanted(item)]
            self._later = [entry for entry in self._later if not wanted(entry[2])]
            heapq.heapify(self._later)
        for item in taken:
            self._forget(item)
        return taken

    def room(self, lane: Lane) -> bool:
        return self._counts[lane] < self._lane_items and self._bytes[lane] < self._lane_bytes

    def __len__(self) -> int:
        return sum(self._counts.values())

    def _ripen(self, now_ms: int) -> None:
        while self._later and self._later[0][0] <= now_ms:
            item = heapq.heappop(self._later)[2]
            self._lanes[item.lane].append(item)

    def _first(self, lane: Lane) -> int:
        """The place of the lane's first item whose tenant isn't held; -1 where there is none."""
        for place, item in enumerate(self._lanes[lane]):
            if not self._held(item.task.tenant):
                return place
        return -1

    def _choose(self) -> Lane | None:
        ready = [lane for lane in LANES if self._first(lane) >= 0]
        return max(ready, key=lambda lane: self._credit[lane] + WEIGHTS[lane], default=None)

    def _forget(self, item: Item) -> None:
        self._bytes[item.lane] -= item.size
        self._counts[item.lane] -= 1
