"""The order of calls."""

from typing import Any

from aiokafka import TopicPartition

from schemas.config import Config
from schemas.names import Lane
from schemas.records import CallTask, RequestEvent
from streams.services.call.item import Item, Owned
from streams.services.call.scheduler import LaneScheduler


def item(name: str, lane: Lane = "standard", ready_at: int = 0, size: int = 10, tenant: str = "t") -> Item:
    task = CallTask(
        request_id=name, tenant=tenant, attempt=1, attempt_id=name, model="m", lane=lane, task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=1, max_output_tokens=1, request=RequestEvent(id=name),
    )  # fmt: skip
    config: Any = Config.model_construct()
    return Item(Owned(TopicPartition("c", 0), lane, 0), 0, lane, size, task, config, ready_at=ready_at)


def scheduler(held: set[str] | None = None, items: int = 1000, size: int = 1_000_000) -> LaneScheduler:
    return LaneScheduler(items, size, (held or set()).__contains__)


def names(queue: LaneScheduler, count: int, now: int = 0) -> list[str]:
    out = []
    for _ in range(count):
        shown, taken = queue.peek(now), queue.pop(now)
        assert shown is taken, "peek shows what pop takes"
        out.append(taken.task.request_id if taken else "-")
    return out


def test_first_come_first_served_within_a_lane() -> None:
    queue = scheduler()
    for name in "abc":
        queue.push(item(name))
    assert names(queue, 4) == ["a", "b", "c", "-"] and len(queue) == 0


def test_lanes_by_weight_and_none_starves() -> None:
    queue = scheduler()
    lanes: tuple[Lane, ...] = ("interactive", "standard", "batch")
    for number in range(100):
        for lane in lanes:
            queue.push(item(f"{lane[0]}{number}", lane))
    taken = [name[0] for name in names(queue, 42)]
    assert (taken.count("i"), taken.count("s"), taken.count("b")) == (32, 8, 2)
    assert "".join(taken[:21]).count("b") == 1, "spread, not in blocks"


def test_what_is_not_due_waits_and_holds_nobody_up() -> None:
    queue = scheduler()
    queue.push(item("later", ready_at=50))
    queue.push(item("now"))
    assert names(queue, 2) == ["now", "-"]
    assert queue.next_ready() == 50 and len(queue) == 1
    assert names(queue, 1, now=50) == ["later"] and queue.next_ready() is None


def test_a_held_tenant_stays_in_its_place() -> None:
    held = {"x"}
    queue = scheduler(held)
    queue.push(item("a", tenant="x"))
    queue.push(item("b"))
    assert names(queue, 2) == ["b", "-"]
    held.clear()
    assert names(queue, 1) == ["a"]


def test_room_is_bounded_by_items_and_by_bytes_for_each_lane() -> None:
    queue = scheduler(items=2, size=100)
    queue.push(item("a", size=10))
    assert queue.room("standard")
    queue.push(item("b", size=10))
    assert not queue.room("standard") and queue.room("batch")
    names(queue, 1)
    assert queue.room("standard")
    queue.push(item("big", "batch", size=100))
    assert not queue.room("batch")
    queue.take_if(lambda i: i.lane == "batch")
    assert queue.room("batch")


def test_take_if_finds_ready_and_waiting_ones() -> None:
    queue = scheduler()
    for name, ready in (("a", 0), ("b", 9), ("c", 0), ("d", 9)):
        queue.push(item(name, ready_at=ready))
    assert {i.task.request_id for i in queue.take_if(lambda i: i.task.request_id in "bc")} == {"b", "c"}
    assert names(queue, 3, now=9) == ["a", "d", "-"]
