"""The steps of one try: their order, and what stops them at each boundary."""

import asyncio

import pytest

from processors.providers.pool import Later, NoTarget
from schemas.records import Attempt, Control, RequestEvent, Tool
from tests.fakes.call_bench import Bench


async def test_the_order_of_steps() -> None:
    bench = Bench([(200, {})])
    await bench.run(bench.item())
    assert bench.steps == ["started.1", "call a.1", "succeeded", "done.1"] and bench.done
    assert bench.outcomes[0].tries == 1 and bench.outcomes[0].task is None


async def test_a_deadline_that_passed_is_not_called() -> None:
    bench = Bench([])
    await bench.run(bench.item(deadline_at=bench.now))
    assert bench.steps == ["expired"] and bench.done
    assert bench.outcomes[0].tries == 0 and bench.outcomes[0].task is not None
    assert bench.outcomes[0].error is not None and not bench.outcomes[0].error.maybe_paid


async def test_a_cancel_that_comes_while_the_start_is_journaled() -> None:
    bench = Bench([])
    cancel = Control(event_id="e", command="cancel", at=0, actor="x", tenant="t", request_id="r")
    bench.on_journal = lambda record: bench.control.apply(b"cancel:1", cancel)
    await bench.run(bench.item())
    assert bench.steps == ["started.1", "cancelled", "done.1"] and bench.done


async def test_a_worker_that_stood_still_and_lost_its_partition_doesn_t_call() -> None:
    """It tells nobody anything but the journal: the task has another owner, who has called or given it up."""
    bench = Bench([])

    def stand_still(record: Attempt) -> None:
        bench.mono, bench.fresh, bench.owned.alive = 60.0, True, False

    bench.on_journal = stand_still
    await bench.run(bench.item())
    assert bench.steps == ["started.1", "abandoned.1"] and not bench.attempts.running
    assert bench.owned.mark is not None and bench.owned.mark.mark == 5, "nobody made the call: it isn't done"


async def test_a_worker_that_stood_still_and_is_still_the_owner_goes_on() -> None:
    bench = Bench([(200, {})])

    def stand_still(record: Attempt) -> None:
        if record.phase == "started":
            bench.mono, bench.fresh = 60.0, False
            asyncio.get_running_loop().call_later(0.02, lambda: setattr(bench, "fresh", True))

    bench.on_journal = stand_still
    await bench.run(bench.item())
    assert bench.steps == ["started.1", "call a.1", "succeeded", "done.1"]


async def test_an_orderly_hand_over_while_the_start_is_journaled_goes_on() -> None:
    """The lease still holds, and the next owner was told to wait: the call is made, once."""
    bench = Bench([(200, {})])
    handing: list[asyncio.Task[None]] = []

    def revoke(record: Attempt) -> None:
        if record.phase == "started":
            bench.owned.alive = False
            handing.append(asyncio.create_task(bench.attempts.hand_over()))

    bench.on_journal = revoke
    await bench.run(bench.item())
    await asyncio.gather(*handing)
    bench.steps.remove("handed_over.1")
    assert bench.steps == ["started.1", "call a.1", "succeeded", "done.1"]


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_what_can_t_be_paid_is_queued_for_another_try(status: int) -> None:
    bench = Bench([(status, {}), (200, {})])
    item = bench.item()
    await bench.run(item)
    assert bench.steps == ["started.1", "call a.1"] and bench.requeued == [item]
    assert item.ready_at == bench.now + 250, "half of 0.5 s, by the injected jitter"
    assert item in bench.attempts.running, "a hand-over must tell of it"
    await bench.run(item)
    assert bench.steps[2:] == ["started.2", "call a.2", "succeeded", "done.2"] and bench.done
    assert bench.outcomes[0].tries == 2


async def test_a_retry_after_is_obeyed_and_benches_the_key() -> None:
    bench = Bench([(429, {"retry-after": "8"})])
    item = bench.item()
    await bench.run(item)
    assert item.ready_at == bench.now + 8000
    assert bench.places.look(1, bench.mono + 7.5) == Later(0.5)


@pytest.mark.parametrize(
    ("answers", "deadline_ms", "tries"),
    [([(429, {"retry-after": "8"})], 5_000, 1), ([(503, {})] * 3, 60_000, 3)],
    ids=["the wait outlasts the deadline", "the retries are used up"],
)
async def test_retries_are_bounded(
    answers: list[tuple[int, dict[str, str]]], deadline_ms: int, tries: int
) -> None:
    bench = Bench(answers)
    item = bench.item(deadline_at=bench.now + deadline_ms)
    for _ in range(tries):
        await bench.run(item)
    [outcome] = bench.outcomes
    assert (outcome.status, outcome.tries) == ("failed", tries) and outcome.error is not None
    assert outcome.error.retriable and not outcome.error.maybe_paid and outcome.usage is None


async def test_a_try_that_may_not_follow_here_is_returned() -> None:
    bench = Bench([(429, {})])
    item = bench.item()
    bench.on_journal = lambda record: setattr(bench.owned, "alive", False)
    await bench.run(item)
    assert bench.steps == ["started.1", "call a.1", "returned", "done.1"] and bench.requeued == []
    assert bench.outcomes[0].task is not None


@pytest.mark.parametrize("status", [500, 502, 504, 400, 401])
async def test_everything_else_goes_back_to_route(status: int) -> None:
    bench = Bench([(status, {})])
    await bench.run(bench.item())
    assert bench.steps == ["started.1", "call a.1", "failed", "done.1"]
    error = bench.outcomes[0].error
    assert error is not None and error.maybe_paid == (status >= 500)


async def test_what_can_t_be_sent_is_refused_without_a_start() -> None:
    bench = Bench([])
    request = RequestEvent(id="r", prompt="q", tools=[Tool(name="x", input_schema="{")])
    await bench.run(bench.item(request=request))
    assert bench.steps == ["failed", "done.0"] and bench.outcomes[0].error is not None
    assert bench.outcomes[0].error.error_class == "invalid_request"


async def test_a_secret_that_can_t_be_had_fails_the_task_and_not_the_worker() -> None:
    bench = Bench([])
    bench.target_error = NoTarget("auth", "providers.p.api_key: secret env:KEY: not set")
    await bench.run(bench.item())
    assert bench.steps == ["failed", "done.0"] and bench.outcomes[0].error is not None
    assert bench.outcomes[0].error.error_class == "auth" and bench.outcomes[0].error.retriable
