"""The machine inside its stage: what it counts, what its letters say, and what it knows of pauses."""

from typing import cast

import pytest
from prometheus_client import REGISTRY

from processors.route.machine import Record
from schemas.codec import Codec
from schemas.config import Config
from schemas.names import TENANT_EVENTS
from schemas.records import CallTask, Control, DeadLetter
from schemas.registry import SchemaStore
from streams.config_watch import ConfigWatcher
from streams.outbox.contract import Inbound, Outbound
from streams.route_health import Pauses
from streams.route_machine import RouteBinding
from streams.route_metrics import RouteObserver
from streams.services.call.control import ControlState
from tests.unit.route.world import T0, Configs, World, config, control, outcome

CODEC = Codec(SchemaStore())


class Fetched(Configs):
    """Configurations that are all read already."""

    async def fetch(self, version: str) -> Config:
        return self.get(version)


@pytest.fixture
def world() -> World:
    world = World()
    world.configs = Fetched(world.configs.known)
    world.version = world.configs.add(config())
    return world


def binding_of(world: World) -> RouteBinding:
    return RouteBinding(3, CODEC, cast(ConfigWatcher, world.configs), world.clock, world.seams)


def inbound(record: Record | None, offset: int) -> Inbound:
    value = b"?" if record is None else CODEC.encode(record, TENANT_EVENTS)
    return Inbound(TENANT_EVENTS, 3, offset, T0, b"acme", value)


def letters(outputs: list[Outbound]) -> list[DeadLetter]:
    return [CODEC.decode(o.value, DeadLetter) for o in outputs if o.topic == "llm.dead-letters"]


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("sluice_route_dead_letters_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("what", "advice"),
    [
        ("request", "once the cause is mended, submit it anew under another id"),
        ("outcome", "redrive it once the cause is mended, so that what it used is known"),
        ("command", "redrive it once the cause is mended"),
        ("unreadable", "redrive it once the cause is mended"),
    ],
)
async def test_a_poison_letter_says_what_helps_and_is_counted(world: World, what: str, advice: str) -> None:
    task = world.submit("r9")
    records: dict[str, Record] = {
        "request": world.request(), "outcome": outcome(task), "command": control("cancel")
    }  # fmt: skip
    binding, poison = binding_of(world), inbound(records.get(what), 7)
    before = counted("poison")
    await binding.prepare([poison])
    (letter,) = letters(binding.poison(poison, ValueError("boom")))
    assert letter.message.endswith(advice) and "boom" in letter.message
    tenant = None if what == "unreadable" else "acme"
    assert (letter.reason, letter.claimed_tenant) == ("poison", tenant)
    assert counted("poison") == before + 1


async def test_letters_of_records_and_of_decisions_are_counted(world: World) -> None:
    binding = binding_of(world)
    before = counted("undecodable"), counted("unknown_outcome")
    request = world.request("r1", "wary")
    batch = [inbound(None, 1), inbound(request, 2)]
    await binding.prepare(batch)
    assert len(letters(binding.handle(batch[0]))) == 1
    calls = [o for o in binding.handle(batch[1]) if o.topic.startswith("llm.calls.")]
    unknown = inbound(outcome(CODEC.decode(calls[0].value, CallTask), "unknown"), 3)
    await binding.prepare([unknown])
    assert [letter.kind for letter in letters(binding.handle(unknown))] == ["quarantine"]
    assert (counted("undecodable"), counted("unknown_outcome")) == (before[0] + 1, before[1] + 1)


def reach(partition: int = 3) -> float | None:
    return REGISTRY.get_sample_value("sluice_route_dedupe_reach_seconds", {"partition": str(partition)})


def test_the_reach_of_the_dedupe_memory_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.configs.add(config(defaults__dedupe_max_entries=1000))
    observer = RouteObserver()
    binding = observer.watch(binding_of(world))
    monkeypatch.setattr("time.time", lambda: world.clock.now / 1000)
    observer.refresh()
    assert reach() == 24 * 3600 == REGISTRY.get_sample_value("sluice_route_dedupe_retention_seconds")
    for number in range(1200):
        world.clock.now += 1000
        binding.machine.handle(world.request(f"r{number}"), world.next_source())
    observer.refresh()
    told = reach()
    assert told is not None and 700 < told < 1000
    observer.closed(3)
    assert reach() is None, "a partition that went elsewhere must not alarm here"


def test_a_request_goes_to_a_candidate_that_is_not_paused() -> None:
    state = ControlState(lambda name: config().resolve(name) or name)
    world = World(health=Pauses(state))
    pause = Control(event_id="e", command="pause", at=1, actor="ann", model="fast")
    state.apply(b"pause:model:fast", pause)
    assert world.submit("r1").model == "large"
    assert world.submit("r2", model="small").model == "small", "its only candidate waits"
    state.apply(b"pause:model:fast", None)
    assert world.submit("r3").model == "small"
