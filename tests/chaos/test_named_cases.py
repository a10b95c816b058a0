"""Cases that have a name, because money is lost in them elsewhere: each is played out on the whole pipeline."""

import asyncio
import time
import uuid

import pytest

from tests.chaos.scale import scaled
from tests.pipeline.evidence import Id
from tests.pipeline.fleet import Worker, until
from tests.pipeline.pipeline import FAILING, RETRYING, Pipeline, now_ms, request, requests

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def prefix() -> str:
    return f"case-{uuid.uuid4().hex[:8]}"


async def calls_of(pipeline: Pipeline, prefix: str) -> dict[str, int]:
    """How often the provider was called for each prompt of these requests."""
    counts = await asyncio.to_thread(pipeline.provider.counts)
    return {prompt: n for prompt, n in counts["by_prompt"].items() if prompt.startswith(prefix)}


async def in_flight(pipeline: Pipeline) -> int:
    return int((await asyncio.to_thread(pipeline.provider.counts))["in_flight"])


async def owner_of(pipeline: Pipeline, request: Id) -> Worker:
    """The worker whose call of the request is running, by the journal."""
    await pipeline.evidence.catch_up()
    [started] = [a for a in pipeline.evidence.attempts if (a.tenant, a.request_id) == request and a.phase == "started"]
    found = [w for w in pipeline.fleet.workers.values() if started.worker.startswith(f"{w.place[0]}-{w.place[1]}-")]
    assert len(found) == 1, started.worker
    return found[0]


async def test_a_crash_between_started_and_the_call(pipeline: Pipeline, prefix: str) -> None:
    """Attempt 1 is unknown, attempt 2 succeeds, and the provider saw only the second."""
    fleet = pipeline.fleet
    for number in (0, 1):
        await fleet.drain(fleet.workers["call", number])
    armed = fleet.start(("call", 0), crash_point="call.after_started")
    await fleet.ready([armed])
    [event] = requests(prefix, 1)
    await pipeline.publish(event)
    await until(lambda: not armed.alive, 60, f"{armed} to die")
    fleet.start(("call", 1))
    result = await pipeline.result(event.tenant, event.id)
    await pipeline.kept()
    assert (result.status, result.attempts) == ("succeeded", 2)
    [unknown, settled] = [u for u in pipeline.evidence.usage if u.request_id == event.id]
    assert (unknown.attempt, unknown.status, unknown.error_class) == (1, "unknown", "unknown_outcome")
    assert unknown.usage.estimated and unknown.cost is not None and unknown.cost > 0
    assert (settled.attempt, settled.status, settled.usage.estimated) == (2, "succeeded", False)
    calls = (await asyncio.to_thread(pipeline.provider.counts))["by_attempt"]
    assert f"{settled.attempt_id}.1" in calls and f"{unknown.attempt_id}.1" not in calls
    assert await calls_of(pipeline, prefix) == {event.prompt: 1}
    told = [(s["stage"], s["what"], s.get("attempt")) for s in await pipeline.trace(event.tenant, event.id)]
    assert event.reply_topic is not None
    assert sorted(told, key=str) == [
        ("call", "done", 1),
        ("call", "done", 2),
        ("call", "started", 1),
        ("call", "started", 2),
        ("classify", "classified", None),
        ("relay", "copied", None),
        ("request", "published", None),
        ("result", "succeeded", None),
        ("route", "accepted", None),
        ("route", "finalised", 2),
        ("route", "retried", 2),
        ("usage", "succeeded", 2),
        ("usage", "unknown", 1),
    ]
    order = [("route", "accepted", None), ("call", "started", 1), ("route", "retried", 2), ("call", "started", 2)]
    assert [step for step in told if step in order] == order


async def test_long_calls_outlive_the_orderly_end_of_their_owner(pipeline: Pipeline, prefix: str) -> None:
    """SIGTERM beside a standby: every call is made once, none is unknown, and new ones don't wait for the old."""
    seconds = scaled(20, 6)
    tenants = [RETRYING[n % len(RETRYING)] for n in range(scaled(200, 40))]
    prompts = [f"{prefix} {n} [[latency:{seconds}000]]" for n in range(len(tenants))]
    long = [
        request(f"{prefix}-long", n, tenant=tenant, model="slow", prompt=prompt, reply_topic=None)
        for n, (tenant, prompt) in enumerate(zip(tenants, prompts, strict=True))
    ]
    await pipeline.publish(*long)

    async def all_running() -> bool:
        return await in_flight(pipeline) == len(long)

    await until(all_running, 30, "every call to run")
    owner = await owner_of(pipeline, (long[0].tenant, long[0].id))
    leaving = asyncio.create_task(pipeline.fleet.drain(owner))
    short = requests(f"{prefix}-short", 5, model="slow", prompt=f"{prefix} short")
    await asyncio.sleep(0)  # the drain begins
    began = time.monotonic()
    await pipeline.publish(*short)
    await pipeline.results((r.tenant, r.id) for r in short)
    assert time.monotonic() - began < seconds or await in_flight(pipeline), "new calls waited for the old ones"
    await leaving
    await pipeline.results((r.tenant, r.id) for r in long)
    await pipeline.kept()
    terminal = pipeline.evidence.terminal()
    assert {(r.status, r.attempts) for e in long for r in terminal[e.tenant, e.id]} == {("succeeded", 1)}
    calls = await calls_of(pipeline, prefix)
    assert sum(calls.values()) == len(long) + len(short)
    mine = [u for u in pipeline.evidence.usage if u.request_id.startswith(prefix)]
    assert {u.status for u in mine} == {"succeeded"}
    journal = [a for a in pipeline.evidence.attempts if a.request_id.startswith(prefix)]
    handed_over = [a for a in journal if a.phase == "handed_over"]
    assert len(handed_over) >= len(long), "the calls weren't running when the owner left"


async def test_a_hanging_call_does_not_have_the_others_made_again(pipeline: Pipeline, prefix: str) -> None:
    """The first call hangs while 500 finish, then its worker is killed: none of the 500 is called again."""
    prompt = f"{prefix} [[hang]]"
    [hanging] = requests(f"{prefix}-hang", 1, tenant=FAILING, model="slow", prompt=prompt, reply_topic=None)
    await pipeline.publish(hanging)

    async def hangs() -> bool:
        return (await calls_of(pipeline, prefix)).get(hanging.prompt or "") == 1

    await until(hangs, 30, "the first call to hang")
    others = requests(prefix, 500, model="slow", reply_topic=None)
    await pipeline.publish(*others)
    await pipeline.results((r.tenant, r.id) for r in others)
    assert (hanging.tenant, hanging.id) not in pipeline.evidence.terminal()
    owner = await owner_of(pipeline, (hanging.tenant, hanging.id))
    await pipeline.fleet.kill(owner)
    pipeline.fleet.start(owner.place)
    result = await pipeline.result(hanging.tenant, hanging.id)
    assert (result.status, result.error_class) == ("failed", "unknown_outcome")
    await pipeline.fleet.ready()
    # What comes after the takeover in each lane is called after everything that was read again.
    after = requests(f"{prefix}-after", 12, model="slow", prompt=f"{prefix} after")
    await pipeline.publish(*after)
    await pipeline.results((r.tenant, r.id) for r in after)
    await pipeline.kept()
    calls = await calls_of(pipeline, prefix)
    assert calls == {f"{prefix} {n}": 1 for n in range(500)} | {hanging.prompt: 1, f"{prefix} after": 12}


async def test_the_same_again_after_everything_was_restarted(pipeline: Pipeline, prefix: str) -> None:
    """Results stay as they are, the provider isn't called, and each repeat is answered with a duplicate notice."""
    events = requests(prefix, scaled(1000, 120))
    await pipeline.publish(*events)
    await pipeline.results((r.tenant, r.id) for r in events)
    await pipeline.kept()
    before = {i: r for i, r in pipeline.evidence.terminal().items() if i[1].startswith(prefix)}
    calls = (await asyncio.to_thread(pipeline.provider.counts))["total"]
    used = len(pipeline.evidence.usage)
    await asyncio.gather(*(pipeline.fleet.kill(w) for w in pipeline.fleet.workers.values()))
    await pipeline.restart_stack()
    pipeline.fleet.start_all()
    await pipeline.fleet.ready()
    repeated_at = now_ms()
    await pipeline.publish(*events)

    async def noticed() -> bool:
        await pipeline.evidence.catch_up()
        notices = [n for n in pipeline.evidence.notices("duplicate") if n.request_id.startswith(prefix)]
        return len(notices) >= len(events)

    await until(noticed, 90, "a notice for each repeat")
    await pipeline.kept()
    notices = [n for n in pipeline.evidence.notices("duplicate") if n.request_id.startswith(prefix)]
    assert sorted(n.original_request_id or "" for n in notices) == sorted(e.id for e in events)
    assert all(n.completed_at >= repeated_at for n in notices)
    assert not [n for n in pipeline.evidence.notices("conflict") if n.request_id.startswith(prefix)]
    assert {i: r for i, r in pipeline.evidence.terminal().items() if i[1].startswith(prefix)} == before
    assert (await asyncio.to_thread(pipeline.provider.counts))["total"] == calls
    assert len(pipeline.evidence.usage) == used
