"""The changelog: its format, what it costs, and that state is what it says."""

import tracemalloc
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from processors.route.machine import RouteMachine
from processors.route.open_request import (
    OpenRequest,
    UnreadableState,
    due_of,
    expand,
    pack,
    shrink,
    unpack,
)
from schemas.audit_chain import verify
from schemas.records import AuditEvent, CallTask
from tests.unit.route.world import T0, World, config, control, only, outcome, records_of, result

GOLDEN = Path(__file__).parents[2] / "golden"
UUIDS = [str(uuid.UUID(int=n * 0x0123456789ABCDEF0123456789ABCDEF % 2**128)) for n in range(1, 9)]


def typical(world: World, number: int) -> dict[str, object]:
    """A request as services send it, without metadata."""
    id_ = str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
    return {
        "id_": id_,
        "application": "crm-assistant",
        "user": "u-104233",
        "session_id": id_[::-1].replace("-", "")[:32],
        "purpose": "support",
        "tags": ["eu", "gold"],
        "data_classes": ["pii"],
        "traceparent": f"00-{id_.replace('-', '')}-{id_.replace('-', '')[:16]}-01",
        "deadline_at": world.clock.now + 60_000 + number % 3_600_000,
    }


def test_record_of_a_typical_open_request_is_small() -> None:
    world = World()
    world.submit(**typical(world, 1))  # type: ignore[arg-type]
    (value,) = [value for key, value in world.flush() if key[:1] == b"r"]
    assert value is not None and len(value) <= 300


def test_memory_of_open_requests() -> None:
    """500 MB for a million: 500 bytes each, timers and dedupe entries included."""
    world, count = World(), 5000
    requests = [world.request(**typical(world, number)) for number in range(count)]  # type: ignore[arg-type]
    source = world.next_source()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number, request in enumerate(requests):
            world.machine.handle(request, source)
            if number % 100 == 99:
                world.machine.flush()
        used = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    assert 200 < used <= 500, used


def test_bodies_are_not_kept() -> None:
    world = World()
    task = world.submit(prompt="a secret " * 1000, system="another secret")
    world.feed(outcome(task, "unknown"))
    assert all(b"secret" not in (value or b"") for _, value in world.flush())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6f0f5a52-6a0b-5b0e-9b6c-51ce51ce51ce", 17),
        ("6F0F5A52-6A0B-5B0E-9B6C-51CE51CE51CE", 37),
        ("6f0f5a526a0b-5b0e-9b6c-51ce51ce51ce-", 37),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 27),
        ("not an id, but of the same length ok", 37),
        ("ünïcode", 10),
        ("", 1),
    ],
)
def test_identifiers_shrink_and_come_back(text: str, size: int) -> None:
    assert expand(shrink(text)) == text
    assert len(shrink(text)) == size


def events(world: World) -> None:
    """A bit of everything that leaves a trace in state."""
    world.configs.known["0123456789abcdef"] = world.configs.get(world.version)
    world.version = world.configs._active = "0123456789abcdef"  # whatever later configurations hash to
    task = world.submit(UUIDS[0], application="crm", metadata={"case": "7"}, idempotency_key="k", tags=["a"])
    world.submit("plain", "wary", lane="batch", model="free", workflow_id="w1", reply_topic="replies")
    world.feed(outcome(world.submit("q", "wary"), "unknown"))
    world.feed(outcome(task, "unknown"))
    world.feed(world.request(UUIDS[0], idempotency_key="k"))
    world.feed(control("cancel", "early"))
    world.feed(control("cancel", "plain", "wary"))
    world.feed(control("pause", None, model="small"))


def golden(name: str) -> list[tuple[bytes, bytes]]:
    lines = (GOLDEN / name).read_text().splitlines()
    return [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in map(str.split, lines)]


def loaded(world: World, changelog: list[tuple[bytes, bytes]]) -> RouteMachine:
    machine = world.new_machine()
    for key, value in changelog:
        machine.load(key, value)
    machine.loaded()
    return machine


def test_what_is_written_is_what_the_newest_golden_file_holds() -> None:
    """A version that writes something else adds a file of its own, and still reads the others."""
    world = World()
    events(world)
    task = world.submit("bounded", max_cost=Decimal("0.5"))
    world.feed(outcome(task, "failed", "provider_error", retriable=True))
    assert sorted(world.flush()) == golden("route_state_v1_decisions.txt")
    read = loaded(world, golden("route_state_v1_decisions.txt"))
    assert read.state.snapshot() == world.machine.state.snapshot()
    before = loaded(world, golden("route_state_v1_allowance.txt"))
    assert before.state.requests == world.machine.state.requests


def test_records_without_the_fields_added_since_are_read() -> None:
    world = World()
    events(world)
    old, now = loaded(world, golden("route_state_v1.txt")).state, world.machine.state
    assert {k: unpack(v) for k, v in old.requests.items()} == {k: unpack(v) for k, v in now.requests.items()}
    assert [due_of(v) for _, v in sorted(old.requests.items())] == [
        due_of(v) for _, v in sorted(now.requests.items())
    ]
    # The chain's head is a hash over audit events, whose details have grown.
    assert replace(old.progress, head=now.progress.head) == now.progress
    assert old.dedupe.count == now.dedupe.count


@pytest.mark.parametrize("prefix", [b"r", b"d", b"m"])
@pytest.mark.parametrize("version", [0, 2])
def test_other_formats_are_refused_with_what_to_do(prefix: bytes, version: int) -> None:
    world = World()
    events(world)
    key, value = next((k, v) for k, v in world.flush() if k[:1] == prefix)
    with pytest.raises(UnreadableState, match=f"format {version}.*run a version that reads it"):
        world.new_machine().load(key, bytes([version]) + (value or b"")[1:])


def test_unknown_key_is_refused() -> None:
    with pytest.raises(UnreadableState, match="newer version"):
        World().machine.load(b"x1", b"\x01")


def test_fields_added_at_the_end_are_read_by_this_version() -> None:
    world = World()
    task = world.submit()
    ((key, value),) = [(k, v) for k, v in world.flush() if k[:1] == b"r"]
    assert value is not None
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(value[7:]), "new"])
    machine = world.new_machine()
    machine.load(key, value[:7] + longer)
    machine.loaded()
    assert machine.handle(outcome(task), world.next_source())


def test_pack_keeps_record_and_due_time() -> None:
    world = World()
    world.submit()
    (packed,) = world.machine.state.requests.values()
    record = unpack(packed)
    assert isinstance(record, OpenRequest)
    assert due_of(packed) == T0 + 330_000
    assert pack(record, due_of(packed)) == packed


def test_flush_writes_each_key_once_and_only_what_changed() -> None:
    world = World()
    task = world.submit("r1")
    world.submit("r2")
    assert sorted(key[:1] for key, _ in world.flush()) == [b"d", b"m", b"r", b"r"]
    assert world.flush() == []
    world.feed(outcome(task))
    written = dict(world.flush())
    assert sorted(key[:1] for key in written) == [b"m", b"r"]
    assert [value for key, value in written.items() if key[:1] == b"r"] == [None]


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("flush_each", [True, False])
def test_replay_gives_the_same_state(compact: bool, flush_each: bool) -> None:
    world = World(config(defaults__dedupe_max_entries=1000))
    open_tasks: list[CallTask] = []
    for number in range(1500):
        world.clock.now += 5000
        open_tasks.append(
            world.submit(f"r{number}", idempotency_key=f"k{number}" if number % 3 == 0 else None)
        )
        if number % 2:
            world.feed(outcome(open_tasks.pop(0), "unknown" if number % 5 == 0 else "succeeded"))
        world.wait(0)
        if flush_each or number % 100 == 0:
            world.flush()
    world.flush()
    rebuilt = world.reopen(compact)
    assert rebuilt.state.snapshot() == world.machine.state.snapshot()
    assert rebuilt.state.dedupe.watermark > T0


def test_a_part_of_an_hour_never_outgrows_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Growing a table stops the partition for as long as its entries take to move."""
    monkeypatch.setattr("processors.route.dedupe._MOST_IN_PART", 100)
    world = World(config(defaults__dedupe_max_entries=1_000_000))
    for number in range(450):
        world.feed(control("pause", None, event_id=str(number)))
    world.flush()
    for machine in (world.machine, world.reopen()):
        sizes = [segment.count for _, segment in sorted(machine.state.dedupe.segments.items())]
        assert sizes == [100, 100, 100, 100, 50]


def test_dropped_segments_leave_nothing_behind() -> None:
    """Their records are deleted even where a crash comes between the drop and the tombstones."""
    world = World(config(defaults__dedupe_max_entries=5000))
    for hour in range(30):
        for number in range(100):
            world.feed(control("pause", None, event_id=f"{hour}-{number}"))
            world.flush()
        world.clock.now += 3_600_000
    written = world.machine.flush()  # nothing waits
    assert written == []
    world.clock.now += 30 * 3_600_000
    world.machine.tick(world.clock.now)
    world.changelog += [
        r for r in world.machine.flush() if r[0] == b"m"
    ]  # a crash before the tombstones' turn
    world.machine = world.reopen()
    world.flush()
    assert [key for key, value in world.reopen_records() if key[:1] == b"d"] == []
    assert world.machine.state.dedupe.count == 0


def test_tombstones_come_spread_over_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processors.route.segment._CHUNK_BYTES", 50)
    world = World()
    for number in range(3000):
        world.feed(control("pause", None, event_id=str(number)))
        if number % 40 == 0:
            world.flush()
    world.flush()
    world.wait(26 * 3600)
    sizes = []
    while written := world.flush():
        sizes.append(len(written))
    assert max(sizes) <= 501
    assert world.reopen().state.snapshot() == world.machine.state.snapshot()
    assert not [key for key, _ in world.reopen_records() if key[:1] == b"d"]


def test_counters_and_chain_outlive_a_restart() -> None:
    world = World()
    first = world.submit("r1")
    world.flush()
    world.machine = world.reopen()
    assert (world.machine.accepted, world.machine.terminal, world.machine.open) == (1, 0, 1)
    world.feed(outcome(first))
    assert result(world.sent).status == "succeeded"
    assert verify(records_of(world.sent, AuditEvent)) == []
    assert only(world.feed(world.request("r2")), CallTask)
