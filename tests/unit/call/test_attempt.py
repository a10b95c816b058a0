"""The steps of one try: their order, and what stops them at each boundary."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition

from processors.limits.backend import MemoryBackend
from processors.limits.limiter import Limiter
from processors.providers.base import ATTEMPT_HEADER, HttpRequest
from processors.providers.openai import OpenAiAdapter
from schemas.config import Config
from schemas.records import Attempt, CallTask, Control, Outcome, RequestEvent, Tool
from streams.services.call.attempt import Attempts
from streams.services.call.control import ControlState
from streams.services.call.deps import NoTarget
from streams.services.call.item import Item, Owned
from streams.services.call.watermark import Watermark

CONFIG = Config.model_validate(
    {
        "providers": {"p": {"kind": "openai", "base_url": "http://x"}},
        "models": {
            "m": {"provider": "p", "vendor_model": "v", "call_retries": 2, "limits": {"concurrency": 4}}
        },
        "tenants": {"t": {}},
        "routes": [{"models": ["m"]}],
    }
)
GOOD = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Answer:
    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status, self.headers, self._body = status, {"content-type": "text/event-stream", **headers}, body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body


class Bench:
    """An `Attempts` over fakes; `steps` tells in order what was journaled, called and told."""

    def __init__(self, answers: list[tuple[int, dict[str, str]]]) -> None:
        self.steps: list[str] = []
        self.outcomes: list[Outcome] = []
        self.requeued: list[Item] = []
        self.now, self.mono = 1_000_000, 50.0
        self.lease, self.fresh = 60.0, True
        self.answers = answers
        self.control = ControlState()
        self.on_journal: Any = lambda record: None
        self.target_error: NoTarget | None = None
        clock = SimpleNamespace(now_ms=lambda: self.now, monotonic=lambda: self.mono)
        self.limiter = Limiter("m", CONFIG.models["m"].limits, MemoryBackend())
        deps: Any = SimpleNamespace(
            clock=clock, journal=self, control=self.control, targets=self, worker="w", jitter=lambda: 0.5
        )
        heartbeat: Any = lambda: SimpleNamespace(lease_until=self.lease, fresh=self.fresh)  # noqa: E731
        self.attempts = Attempts(deps, self.limiter, heartbeat, self.requeued.append, lambda: None)
        self.owned = Owned(TopicPartition("llm.calls.m.standard", 0), "standard", 3, mark=Watermark(0))

    def end(self, partition: int) -> int:
        assert partition == 3
        return 0

    async def write(self, record: Attempt, partition: int) -> None:
        assert partition == 3 and record.worker == "w" and record.call_offset == 5
        self.steps.append(f"{record.phase}.{record.try_}")
        self.on_journal(record)
        await asyncio.sleep(0)

    async def outcome(self, outcome: Outcome, partition: int) -> None:
        assert partition == 7
        self.outcomes.append(outcome)
        self.steps.append(outcome.status)

    def of(self, config: Config, provider_id: str) -> tuple[OpenAiAdapter, "Bench"]:
        if self.target_error is not None:
            raise self.target_error
        return OpenAiAdapter(), self

    @asynccontextmanager
    async def open(self, request: HttpRequest) -> AsyncIterator[Answer]:
        self.steps.append(f"call {request.headers[ATTEMPT_HEADER]}")
        status, headers = self.answers.pop(0)
        yield Answer(status, GOOD if status == 200 else orjson.dumps({"error": "no"}), headers)

    def item(self, **more: Any) -> Item:
        request = more.pop("request", RequestEvent(id="r", prompt="q"))
        task = CallTask(
            request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
            accepted_at=0, deadline_at=more.pop("deadline_at", self.now + 60_000), issued_at=0, config_version="v",
            route_partition=7, input_tokens_estimate=1, max_output_tokens=1, request=request,
        )  # fmt: skip
        assert self.owned.mark is not None
        self.owned.mark.add(5)
        return Item(self.owned, 5, "standard", 10, task, CONFIG, **more)

    async def run(self, item: Item) -> None:
        assert self.limiter.try_start(2, self.mono) == 0
        await self.attempts.run(item)
        assert self.limiter.running == 0, "the slot is given back"

    @property
    def done(self) -> bool:
        assert self.owned.mark is not None
        return self.owned.mark.unfinished == 0 and not self.attempts.running


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


async def test_a_retry_after_is_obeyed_and_holds_the_model() -> None:
    bench = Bench([(429, {"retry-after": "8"})])
    item = bench.item()
    await bench.run(item)
    assert item.ready_at == bench.now + 8000
    assert bench.limiter.try_start(1, bench.mono + 7.5) == pytest.approx(0.5)


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
    assert bench.steps == ["failed"] and bench.outcomes[0].error is not None
    assert bench.outcomes[0].error.error_class == "invalid_request"


async def test_a_secret_that_can_t_be_had_fails_the_task_and_not_the_worker() -> None:
    bench = Bench([])
    bench.target_error = NoTarget("auth", "providers.p.api_key: secret env:KEY: not set")
    await bench.run(bench.item())
    assert bench.steps == ["failed"] and bench.outcomes[0].error is not None
    assert bench.outcomes[0].error.error_class == "auth" and bench.outcomes[0].error.retriable
