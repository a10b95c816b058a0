"""How the end of an item is told and traced, and what a hand-over makes of those that haven't begun."""

import asyncio

import orjson
import pytest

from processors.providers.pool import Later, NoTarget, Target
from schemas.config import RateLimits
from schemas.records import Control, Usage
from streams.services.call.retries import used_tokens
from tests.fakes.call_bench import Bench


def answer(**usage: int) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}], "usage": usage}
    return b"data: " + orjson.dumps(chunk) + b"\n\ndata: [DONE]\n\n"


async def test_an_outcome_without_a_try_leaves_its_trace() -> None:
    """The next owner has the secret that lacks here; it must not call what route has ended."""
    bench = Bench([])
    bench.target_error = NoTarget("auth", "no secret")
    bench.journal_end = 77
    replays: list[int] = []
    bench.on_journal = lambda record: replays.append(bench.owned.mark.replay_from(10**9))
    await bench.run(bench.item())
    assert bench.steps == ["failed", "done.0"] and bench.done
    assert replays == [77], "a commit made meanwhile must have the next owner read the `done`"


async def test_a_cancel_before_the_start_leaves_its_trace() -> None:
    bench = Bench([])
    cancel = Control(event_id="e", command="cancel", at=0, actor="x", tenant="t", request_id="r")
    bench.control.apply(b"cancel:1", cancel)
    await bench.run(bench.item())
    assert bench.steps == ["cancelled", "done.0"] and bench.done


async def test_an_item_that_is_let_go_before_its_start_isn_t_called() -> None:
    """It was taken from the queue before the hand-over told of what runs; its next owner knows nothing of it."""
    bench = Bench([(200, {})])
    item = bench.item()
    bench.owned.alive = False
    await bench.run(item)
    assert bench.steps == [] and bench.owned.mark is not None and bench.owned.mark.mark == 5


async def test_a_next_try_that_is_let_go_before_its_start_is_returned() -> None:
    bench = Bench([(429, {}), (200, {})])
    item = bench.item()
    await bench.run(item)
    bench.owned.alive = False
    await bench.run(item)
    assert bench.steps == ["started.1", "call a.1", "returned", "done.1"] and bench.done


async def test_what_begins_is_running_before_anything_is_awaited() -> None:
    bench = Bench([(200, {})])
    item = bench.item()
    place = bench.places.look(2, bench.mono)
    assert isinstance(place, Target)
    running = asyncio.create_task(bench.attempts.run(item, bench.places.take(place, 2, bench.mono)))
    assert bench.limiter.try_start(2, bench.mono) == 0
    await asyncio.sleep(0)
    assert bench.steps == ["started.1"] and item in bench.attempts.running
    await running


async def test_a_result_that_no_record_holds_has_failed_as_too_large() -> None:
    bench = Bench([(200, {})], body=answer(prompt_tokens=5, completion_tokens=7))
    bench.too_large = True
    await bench.run(bench.item())
    assert bench.steps == ["started.1", "call a.1", "failed", "done.1"] and bench.done
    [outcome] = bench.outcomes
    assert outcome.error is not None and outcome.error.error_class == "result_too_large"
    assert outcome.error.maybe_paid and not outcome.error.retriable and outcome.output == []
    assert outcome.usage is not None and (outcome.usage.input_uncached, outcome.usage.output) == (5, 7)


async def test_a_task_too_large_to_be_carried_back_stays_behind() -> None:
    bench = Bench([(500, {})])
    bench.too_large = True
    await bench.run(bench.item())
    [outcome] = bench.outcomes
    assert outcome.status == "failed" and outcome.task is None and outcome.error is not None
    assert outcome.error.error_class == "provider_error", "its own error is told"


@pytest.mark.parametrize(
    ("usage", "wait"),
    [
        ({"prompt_tokens": 10**9, "completion_tokens": 10**9}, (2 * 10 - 60 + 1) / 19),
        ({"prompt_tokens": 10, "completion_tokens": 10}, 0),
    ],
)
async def test_no_usage_puts_the_limit_in_debt_for_ever(usage: dict[str, int], wait: float) -> None:
    """The call reserved two tokens; a vendor that tells of billions doesn't stop the model for months."""
    bench = Bench([(200, {})], body=answer(**usage), limits=RateLimits.model_validate({"tpm": 1200}))
    await bench.run(bench.item())
    assert bench.limiter.try_start(1, bench.mono) == pytest.approx(max(0.0, wait))


def test_usage_below_nothing_gives_nothing_back() -> None:
    assert used_tokens(Usage(input_uncached=-50, output=3), 20) == 0
    assert used_tokens(Usage(input_uncached=10**9, output=3), 20) == 200
    assert used_tokens(Usage(input_uncached=5, cache_read=2, output=3), 20) == 10


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_a_wait_beside_another_error_holds_nobody(status: int) -> None:
    bench = Bench([(status, {"retry-after": "80000"})])
    await bench.run(bench.item())
    assert bench.limiter.try_start(1, bench.mono) == 0


async def test_a_long_wait_is_route_s_to_decide() -> None:
    """Another model may serve the request meanwhile; and one answer must not switch this one off for a day."""
    bench = Bench([(429, {"retry-after": "3600"})])
    await bench.run(bench.item(deadline_at=bench.now + 7_200_000))
    [outcome] = bench.outcomes
    assert outcome.status == "failed" and outcome.error is not None and bench.requeued == []
    assert outcome.error.retry_after_ms == 3_600_000 and outcome.error.retriable
    assert bench.places.look(1, bench.mono) == Later(60.0)
