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


def scheduler(
    held: set[str] | None = None,
    items: int = 1000,
    size: int = 1_000_000,
    aside: tuple[int, int] = (20_000, 64 << 20),
) -> LaneScheduler:
    return LaneScheduler((items, size), aside, (set() if held is None else held).__contains__)


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


def test_take_if_asks_once_of_each() -> None:
    """The answer may change between two questions, as a deadline passes: an item must not fall between them."""
    held = {"x"}
    queue = scheduler(held)
    for name, ready, tenant in (("a", 0, "t"), ("b", 9, "t"), ("c", 0, "x")):
        queue.push(item(name, ready_at=ready, tenant=tenant))
    asked: list[str] = []

    def at_the_second_asking(each: Item) -> bool:
        asked.append(each.task.request_id)
        return asked.count(each.task.request_id) > 1

    assert queue.take_if(at_the_second_asking) == [] and sorted(asked) == ["a", "b", "c"]
    assert len(queue) == 3
    assert len(queue.take_if(at_the_second_asking)) == 3 and len(queue) == 0
    assert queue.room("standard")
    held.clear()
    assert names(queue, 1, now=9) == ["-"]


def test_a_busy_tenant_that_is_paused_leaves_room_for_the_others() -> None:
    held = {"busy"}
    queue = scheduler(held, size=8 << 20)
    for number in range(8):
        queue.push(item(f"b{number}", size=1 << 20, tenant="busy"))
    assert queue.room("standard"), "eight MiB of one tenant fill nobody's lane"
    queue.push(item("other"))
    assert names(queue, 2) == ["other", "-"] and len(queue) == 8
    held.clear()
    assert names(queue, 9) == [f"b{number}" for number in range(8)] + ["-"]


def test_a_pause_while_items_wait_makes_room_too() -> None:
    held: set[str] = set()
    queue = scheduler(held, items=3)
    for name in "abc":
        queue.push(item(name, tenant="busy"))
    assert not queue.room("standard")
    held.add("busy")
    assert queue.peek(0) is None and queue.room("standard")
    held.clear()
    assert names(queue, 4) == ["a", "b", "c", "-"]


def test_what_is_not_due_leaves_room_too() -> None:
    queue = scheduler(items=2)
    for name in "abc":
        queue.push(item(name, ready_at=50))
    assert queue.room("standard")
    assert names(queue, 1, now=50) == ["a"]
    assert not queue.room("standard"), "it counts in its lane from when it is due"


def test_what_lies_aside_is_bounded_by_items_and_bytes() -> None:
    for more in ({"size": 1}, {"size": 50}):
        queue = scheduler({"x"}, aside=(3, 100))
        queue.push(item("a", tenant="x", **more))
        assert queue.room("standard")
        queue.push(item("b", ready_at=9, **more))
        queue.push(item("c", tenant="x", **more))
        assert not queue.room("standard") and not queue.room("batch")
        queue.take_if(lambda i: i.task.request_id in "ac")
        assert queue.room("standard") and len(queue) == 1
