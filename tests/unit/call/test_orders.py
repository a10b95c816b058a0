"""What comes before a call: content fetched, the window looked at, parameters dropped or refused; and its deltas."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from processors.providers.base import Delta
from processors.providers.content_hosts import ContentFailure
from processors.providers.pool import Pool
from schemas.config import Config, Model
from schemas.records import CallTask, ContentPart, Outcome, Parameters, RequestEvent
from streams.services.call.item import Item
from tests.fakes.call_bench import CONFIG, Bench, target

PICTURE = ContentPart(type="image", uri="https://files.example/picture.png")
LOOK = RequestEvent(id="r", prompt="look", content=[PICTURE])


class Fetcher:
    """Puts data in the place of references, or fails."""

    def __init__(self, bench: Bench, problem: ContentFailure | None = None) -> None:
        self.bench, self.problem = bench, problem
        self.passes: list[bool] = []

    @asynccontextmanager
    async def fetched(
        self, task: CallTask, rules: Any, within_s: float, passes: bool
    ) -> AsyncIterator[CallTask]:
        self.passes.append(passes)
        assert within_s == 60.0
        self.bench.steps.append("fetch")
        if self.problem is not None:
            raise self.problem
        part = ContentPart(type="image", data=b"PNG", media_type="image/png")
        request = msgspec.structs.replace(task.request, content=[part])
        yield msgspec.structs.replace(task, request=request)
        self.bench.steps.append("let go")


def with_fetcher(problem: ContentFailure | None = None) -> tuple[Bench, Fetcher]:
    bench = Bench([(200, {})])
    fetcher = Fetcher(bench, problem)
    bench.fetched = fetcher.fetched  # type: ignore[attr-defined]
    return bench, fetcher


async def test_content_is_fetched_before_the_start_and_kept_for_the_call_alone() -> None:
    bench, fetcher = with_fetcher()
    await bench.run(bench.item(request=LOOK))
    assert bench.steps == ["fetch", "started.1", "call a.1", "let go", "succeeded", "done.1"]
    assert b"data:image/png;base64,UE5H" in bench.bodies[0] and fetcher.passes == [False]


async def test_content_that_can_t_be_had_is_told_without_a_start() -> None:
    for retriable, kind in ((True, "content_unavailable"), (False, "content_refused")):
        bench, _ = with_fetcher(ContentFailure("why", retriable))
        await bench.run(bench.item(request=LOOK))
        assert bench.steps == ["fetch", "failed", "done.0"] and bench.done
        error = bench.outcomes[0].error
        assert error is not None and (error.error_class, error.retriable) == (kind, retriable)
        task = bench.outcomes[0].task
        assert task is not None and task.request.content == [PICTURE]


async def test_content_of_an_item_that_was_let_go_meanwhile_is_nobody_s() -> None:
    bench, fetcher = with_fetcher(ContentFailure("why", True))
    item = bench.item(request=LOOK)
    bench.owned.alive = False
    await bench.run(item)
    assert bench.steps == ["fetch"] and bench.outcomes == []
    bench.owned.alive, fetcher.problem = True, None


async def fetching() -> tuple[Bench, Item, "asyncio.Task[None]"]:
    """A try whose content never comes."""
    bench, begun = Bench([(200, {})]), asyncio.Event()

    @asynccontextmanager
    async def never(task: CallTask, *_: Any) -> AsyncIterator[CallTask]:
        begun.set()
        await asyncio.Event().wait()
        yield task

    bench.fetched = never  # type: ignore[attr-defined]
    item = bench.item(request=LOOK)
    running = asyncio.create_task(bench.run(item))
    await begun.wait()
    return bench, item, running


async def test_a_cancel_ends_the_wait_for_content() -> None:
    bench, _, running = await fetching()
    bench.control.cancel.append(bench.attempts.cancel)
    bench.control._cancel("t", "other")
    for _ in range(2):
        bench.control._cancel("t", "r")
    async with asyncio.timeout(5):
        await running
    assert bench.steps == ["cancelled", "done.0"] and bench.outcomes[0].usage is None and bench.done


async def test_a_rebalance_or_a_drain_ends_the_wait_for_content() -> None:
    bench, _, running = await fetching()
    bench.owned.alive = False
    await bench.attempts.hand_over()
    async with asyncio.timeout(5):
        await running
    assert bench.steps == [] and not bench.attempts.running, "its next owner calls"


async def test_a_deadline_ends_the_wait_for_content() -> None:
    bench = Bench([(200, {})])

    @asynccontextmanager
    async def never(task: CallTask, *_: Any) -> AsyncIterator[CallTask]:
        await asyncio.Event().wait()
        yield task

    bench.fetched = never  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        await bench.run(bench.item(request=LOOK, deadline_at=bench.now + 10))
    assert bench.outcomes[0].status == "failed" and bench.outcomes[0].tries == 0


async def test_a_provider_may_be_given_the_uri() -> None:
    values = CONFIG.model_dump(mode="json")
    values["providers"]["p"]["content_urls"] = "pass"
    bench, fetcher = with_fetcher()
    item = bench.item(request=LOOK)
    item.config = Config.model_validate(values)
    await bench.run(item)
    assert fetcher.passes == [True]


def bench_with(**model: Any) -> Bench:
    bench = Bench([(200, {})])
    place = target(bench)
    place.model = Model.model_validate({"provider": "p", "vendor_model": "v", **model})
    bench.places = Pool([place])
    return bench


async def test_a_prompt_longer_than_the_window_isn_t_sent() -> None:
    bench = bench_with(context_window=100)
    counted: list[str] = []

    def count(model: Model, request: RequestEvent) -> int | None:
        counted.append(request.prompt or "")
        return len(request.prompt or "") // 2

    bench.count_tokens = count
    item = bench.item(request=RequestEvent(id="r", prompt="x" * 200), size=250)
    await bench.run(item)
    assert bench.steps == ["failed", "done.0"] and len(counted) == 1
    error = bench.outcomes[0].error
    assert error is not None and error.error_class == "context_exceeded" and not error.maybe_paid
    assert error.message == "the prompt has 100 tokens or more; the model's window holds 100"


@pytest.mark.parametrize(("prompt", "size", "counts"), [("x" * 30, 60, 0), ("x" * 198, 250, 1)])
async def test_what_fits_is_sent_and_counted_only_where_its_bytes_may_not(
    prompt: str, size: int, counts: int
) -> None:
    bench = bench_with(context_window=100)
    counted: list[int] = []
    bench.count_tokens = lambda model, request: counted.append(1) or len(request.prompt) // 2
    item = bench.item(request=RequestEvent(id="r", prompt=prompt), size=size)
    await bench.run(item)
    assert bench.outcomes[0].status == "succeeded" and len(counted) == counts


async def test_where_nothing_can_count_the_provider_says() -> None:
    bench = bench_with(context_window=1)
    await bench.run(bench.item())
    assert bench.outcomes[0].status == "succeeded"


SEEDED = RequestEvent(id="r", prompt="q", parameters=Parameters(top_k=5, seed=7))


async def test_dropped_parameters_are_told_in_the_outcome() -> None:
    bench = bench_with(unsupported="drop")
    await bench.run(bench.item(request=SEEDED))
    [outcome] = bench.outcomes
    assert outcome.status == "succeeded" and outcome.dropped == ["parameters.top_k"]
    assert b'"seed":7' in bench.bodies[0] and b"top_k" not in bench.bodies[0]


async def test_a_parameter_that_is_refused_is_named_and_nothing_is_sent() -> None:
    bench = bench_with()
    await bench.run(bench.item(request=SEEDED))
    [outcome] = bench.outcomes
    assert bench.steps == ["failed", "done.0"] and outcome.error is not None
    assert outcome.error.error_class == "unsupported_parameter" and not outcome.error.retriable
    assert outcome.error.message.startswith("parameters.top_k: ")


class Stream:
    """Keeps the deltas of an attempt, and when it ended."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.texts: list[str] = []

    def take(self, deltas: list[Delta]) -> None:
        self.texts += [delta.text for delta in deltas]

    async def end(self, outcome: Outcome) -> None:
        self.bench.steps.append(f"end {outcome.status}")


def streaming(*answers: tuple[int, dict[str, str]]) -> tuple[Bench, Stream, Item]:
    bench = Bench(answers)
    stream = Stream(bench)
    bench.stream = lambda task, config: stream  # type: ignore[attr-defined]
    request = RequestEvent(id="r", prompt="q", reply_topic="replies", stream_deltas=True)
    return bench, stream, bench.item(request=request)


async def test_deltas_end_before_the_outcome_is_told() -> None:
    bench, stream, item = streaming((200, {}))
    await bench.run(item)
    assert stream.texts == ["hi"]
    assert bench.steps == ["started.1", "call a.1", "end succeeded", "succeeded", "done.1"]


async def test_a_try_that_is_followed_by_another_ends_no_deltas() -> None:
    bench, stream, item = streaming((429, {}), (200, {}))
    await bench.run(item)
    assert bench.steps == ["started.1", "call a.1"] and stream.texts == []


async def test_a_request_that_an_encoder_stumbles_over_fails_alone() -> None:
    """The worker goes on: it would meet the request again after each restart."""
    bench = Bench([(200, {})])

    def stumble(task: CallTask, model: Model) -> Any:
        raise KeyError("tool_call_id")

    bench.places.targets[0].adapter.encode = stumble  # type: ignore[method-assign]
    await bench.run(bench.item())
    [outcome] = bench.outcomes
    assert bench.steps == ["failed", "done.0"] and outcome.error is not None
    assert outcome.error.error_class == "internal" and not outcome.error.maybe_paid
    assert "KeyError: 'tool_call_id'" in outcome.error.message
