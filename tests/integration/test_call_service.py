"""The call service alone on a real Kafka: tasks in, outcomes out, against a mock provider in another process."""

import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from schemas import names
from tests.fakes.call_rig import TENANT, Rig, until


@pytest.fixture
async def rig(kafka_brokers: str, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(kafka_brokers, tmp_path)
    yield rig
    await rig.close()


async def test_every_kind_of_answer(rig: Rig) -> None:
    """One worker, many kinds of answer at once: each ends as it should, and the books agree."""
    await rig.start({"m": {"timeouts": {"first_token_s": 1, "idle_s": 1, "total_s": 20}}}, latency_ms="5")
    worker = rig.worker("a")
    await worker.says("ready")
    prompts = {
        "plain": "hello",
        "tool": "[[tool]]",
        "whole": "[[plain]] not streamed",
        "no_usage": "[[no_usage]]",
        "no_done": "[[no_done]]",
        "truncated": "[[truncate:5]]",
        "cut": "[[cut:5]]",
        "refused": "[[refuse]]",
        "error_event": "[[error_event:3]]",
        "never": "[[hang]]",
        "stuck": "[[hang:3]]",
        "bad": "[[status:400]]",
        "broken": "[[status:500]]",
        "huge": "[[chunks:40]][[size:100000]]",
    }
    await rig.publish(rig.task("m", name, prompt) for name, prompt in prompts.items())
    await rig.publish(
        [rig.task("m", "late", deadline_s=-1), rig.task("m", "dying", "[[hang]]", deadline_s=0.6)]
    )
    seen = await rig.settled(len(prompts) + 2)
    ends = {key.rpartition("-")[2]: outcomes for key, outcomes in seen.items()}
    assert {name: [(o.status, o.error.error_class if o.error else o.finish_reason) for o in outcomes]
            for name, outcomes in ends.items()} == {
        "plain": [("succeeded", "stop")],
        "tool": [("succeeded", "tool_call")],
        "whole": [("succeeded", "stop")],
        "no_usage": [("succeeded", "stop")],
        "no_done": [("succeeded", "stop")],
        "truncated": [("failed", "truncated")],
        "cut": [("failed", "truncated")],
        "refused": [("failed", "connection")],
        "error_event": [("failed", "provider_error")],
        "never": [("failed", "timeout_first_token")],
        "stuck": [("failed", "timeout_idle")],
        "bad": [("failed", "invalid_request")],
        "broken": [("failed", "provider_error")],
        "huge": [("failed", "result_too_large")],
        "late": [("expired", "timeout_total")],
        "dying": [("expired", "timeout_total")],
    }  # fmt: skip
    errors = {name: o[0].error for name, o in ends.items()}
    paid = {name for name, error in errors.items() if error is not None and error.maybe_paid}
    assert paid == {
        "truncated", "cut", "refused", "error_event", "never", "stuck", "broken", "huge", "dying"
    }  # fmt: skip
    plain, unpaid = ends["plain"][0], ends["bad"][0]
    assert plain.usage is not None and plain.usage.output == 20 and not plain.usage.estimated
    assert plain.cost == (Decimal(plain.usage.input_uncached or 0) + 40) / 1_000_000
    assert plain.output[0].text == "x" * 240 and plain.task is None
    assert unpaid.usage is None and unpaid.cost is None
    assert unpaid.task is not None and unpaid.task.request.prompt == "[[status:400]]"
    guessed = ends["no_usage"][0].usage
    assert guessed is not None and guessed.estimated and guessed.output == 60
    partial = ends["stuck"][0].usage
    assert partial is not None and partial.estimated and partial.output == 9
    tool = ends["tool"][0].output[-1]
    assert (tool.tool_name, tool.arguments, tool.tool_call_id) == ("look", '{"a":1}', "call-1")
    assert rig.model("m") + "-late" not in str((await rig.counts())["by_prompt"])
    await rig.check_books()


async def test_unpaid_failures_are_tried_again_inside_call(rig: Rig) -> None:
    """429 with Retry-After twice, then an answer: one outcome, three journaled tries, the wait obeyed by the model."""
    await rig.start({"m": {}})
    await rig.worker("a").says("ready")
    began = time.monotonic()
    await rig.publish([rig.task("m", 1, "[[status:429]][[retry_after:1]][[times:2]]")])
    seen = await rig.settled(1)
    [outcome] = seen[rig.model("m") + "-1"]
    assert outcome.status == "succeeded" and outcome.tries == 3
    assert time.monotonic() - began >= 2, "the provider asked for two waits of a second"
    started = [r.try_ for r in await rig.journal() if r.phase == "started"]
    assert sorted(started) == [1, 2, 3]
    assert sorted(h.rpartition(".")[2] for h in (await rig.counts())["by_attempt"]) == ["1", "2", "3"]
    await rig.check_books()


async def test_retries_end_with_the_model_s_bound(rig: Rig) -> None:
    await rig.start({"m": {"call_retries": 2}})
    await rig.worker("a").says("ready")
    await rig.publish([rig.task("m", 1, "[[status:503]]")])
    [outcome] = (await rig.settled(1))[rig.model("m") + "-1"]
    assert outcome.status == "failed" and outcome.tries == 3 and outcome.error is not None
    assert (outcome.error.error_class, outcome.error.retriable, outcome.error.maybe_paid) == (
        "overloaded",
        True,
        False,
    )


async def test_retry_after_holds_the_whole_model(rig: Rig) -> None:
    """While one call waits out a Retry-After, no other call of the model starts."""
    await rig.start({"m": {}})
    await rig.worker("a").says("ready")
    await rig.publish([rig.task("m", "first", "[[status:429]][[retry_after:2]][[times:1]]")])

    async def refused() -> bool:
        return bool((await rig.counts())["total"] == 1)

    await until(refused, 20, "the first call is refused")
    asked = time.time() * 1000
    await rig.publish(rig.task("m", i) for i in range(5))
    seen = await rig.settled(6)
    starts = [o.timings.started_at for outcomes in seen.values() for o in outcomes]
    assert all(start is not None and start >= asked + 1500 for start in starts)


async def test_cancel_drops_the_stream_and_bills_what_was_used(rig: Rig) -> None:
    await rig.start({"m": {}})
    await rig.worker("a").says("ready")
    await rig.publish([rig.task("m", 1, "[[hang:4]]")])

    async def running() -> bool:
        return bool((await rig.counts())["in_flight"] == 1)

    await until(running, 20, "the call runs")
    request_id = rig.model("m") + "-1"
    await rig.command("cancel:1", command="cancel", tenant=TENANT, request_id=request_id)
    [outcome] = (await rig.settled(1))[request_id]
    assert outcome.status == "cancelled" and outcome.usage is not None
    assert outcome.usage.estimated and outcome.usage.output == 12

    async def dropped() -> bool:
        return bool((await rig.counts())["dropped"] == 1)

    await until(dropped, 10, "the provider sees its client go")
    await rig.publish([rig.task("m", 1, "[[hang]]")])
    later = await until(lambda: _count(rig, request_id, 2), 20, "a second outcome")
    assert later[-1].status == "cancelled" and (await rig.counts())["total"] == 1


async def _count(rig: Rig, request_id: str, count: int) -> list:  # type: ignore[type-arg]
    seen = (await rig.outcomes()).get(request_id, [])
    return seen if len(seen) >= count else []


async def test_pause_of_a_model_and_of_a_tenant(rig: Rig) -> None:
    """Nothing of a paused model starts; a paused tenant stands still while others go on; resume lets all go."""
    await rig.start({"m": {}, "n": {}})
    await rig.worker("a").says("ready")
    await rig.command(f"pause:model:{rig.model('m')}", command="pause", model=rig.model("m"))
    await rig.command(f"pause:tenant:held-{rig.run}", command="pause", tenant=f"held-{rig.run}")
    await rig.publish([rig.task("n", "after-pauses")])
    await rig.settled(1)
    await rig.publish(rig.task("m", i) for i in range(3))
    await rig.publish([rig.task("n", "held", tenant=f"held-{rig.run}"), rig.task("n", "free")])
    seen = await rig.settled(2)
    assert set(seen) == {rig.model("n") + "-after-pauses", rig.model("n") + "-free"}
    assert (await rig.counts())["total"] == 2
    await rig.command(f"pause:model:{rig.model('m')}", command="resume", model=rig.model("m"))
    await rig.command(f"pause:tenant:held-{rig.run}", command="resume", tenant=f"held-{rig.run}")
    await rig.settled(6)


async def test_a_task_that_nobody_can_read_is_a_dead_letter(rig: Rig) -> None:
    await rig.start({"m": {}})
    await rig.worker("a").says("ready")
    topic = names.calls_topic(rig.model("m"), "standard")
    await rig.publish_bytes(topic, b"rubbish", "k")
    await rig.publish_bytes(topic, None, "k")
    await rig.publish([rig.task("m", 1), rig.task("m", 2, config_version="gone")])
    seen = await rig.settled(2)
    assert seen[rig.model("m") + "-1"][0].status == "succeeded"
    [gone] = seen[rig.model("m") + "-2"]
    assert gone.error is not None and gone.error.error_class == "no_such_model" and not gone.error.maybe_paid

    async def both() -> bool:
        return len([d for d in await rig.read_all_letters() if d.source_topic == topic]) == 2

    await until(both, 20, "two dead letters")


async def test_rate_limit_holds_over_time(rig: Rig) -> None:
    """120 a minute: a burst of 6, then at most 2 a second."""
    await rig.start({"m": {"limits": {"rpm": 120, "concurrency": 64}}})
    await rig.worker("a").says("ready")
    await rig.publish(rig.task("m", i) for i in range(14))
    seen = await rig.settled(14)
    starts = sorted(o.timings.started_at or 0 for outcomes in seen.values() for o in outcomes)
    assert starts[5] - starts[0] < 1500, "the burst goes at once"
    assert starts[-1] - starts[5] >= 8 / 1.9 * 1000 - 200
    assert starts[-1] - starts[5] < 12_000


async def test_lanes_share_by_weight(rig: Rig) -> None:
    """With one call at a time, interactive work overtakes batch work that came first, and batch still moves."""
    await rig.start({"m": {"limits": {"concurrency": 1}}}, latency_ms="20")
    worker = rig.worker("a")
    await rig.publish(rig.task("m", f"b{i}", lane="batch") for i in range(40))
    await rig.publish(rig.task("m", f"i{i}", lane="interactive") for i in range(40))
    await worker.says("ready")
    seen = await rig.settled(80)
    order = sorted((o[0].timings.started_at or 0, key.rpartition("-")[2]) for key, o in seen.items())
    first = [name[0] for _, name in order[:44]]
    assert first.count("i") >= 30 and first.count("b") >= 2


async def test_the_dummy_provider_serves(rig: Rig) -> None:
    await rig.start({"m": {"provider": "dummy"}})
    await rig.worker("a").says("ready")
    await rig.publish(rig.task("m", i) for i in range(20))
    seen = await rig.settled(20)
    assert {o.status for outcomes in seen.values() for o in outcomes} == {"succeeded"}
    texts = {o[0].output[0].text for o in seen.values()}
    assert len(texts) == 1 and (await rig.counts())["total"] == 0
