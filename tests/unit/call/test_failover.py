"""A try that nobody can have been paid for goes on at another key or deployment; everything carries the true one."""

import orjson
import pytest

from processors.providers.base import ProviderFailure
from processors.providers.failures import not_sent
from processors.providers.pool import Pool, Refused
from processors.providers.redact import SECRETS
from schemas.config import Config
from schemas.records import ErrorInfo
from streams.services.call.item import Item
from tests.fakes.call_bench import CONFIG, Bench, target

QUOTA = ProviderFailure(ErrorInfo(error_class="spend_limit", message="quota used up"))


def bench_of(*answers: tuple[int, dict[str, str]] | ProviderFailure) -> Bench:
    """Two deployments, the first with two keys; calls go to them in turn."""
    bench = Bench(answers)
    places = [("east", "key-1"), ("east", "key-2"), ("west", "key-3")]
    bench.places = Pool([target(bench, key, place) for place, key in places])
    return bench


async def run_all(bench: Bench, item: Item) -> None:
    """Run the item for as long as it is queued again at once."""
    while True:
        queued = len(bench.requeued)
        await bench.run(item)
        if len(bench.requeued) == queued or item.ready_at:
            return


@pytest.mark.parametrize(
    "answer",
    [
        (401, {}),
        (403, {}),
        (404, {}),
        (429, {}),
        (429, {"retry-after": "30"}),
        (503, {}),
        (529, {}),
        not_sent("no"),
        QUOTA,
    ],
    ids=str,
)
async def test_the_next_target_serves_at_once(answer: tuple[int, dict[str, str]] | ProviderFailure) -> None:
    bench = bench_of(answer, (200, {}))
    await run_all(bench, bench.item())
    assert (
        bench.steps == ["started.1", "call a.1", "started.2", "call a.2", "succeeded", "done.2"]
        and bench.done
    )
    [outcome] = bench.outcomes
    assert outcome.tries == 2 and outcome.deployment == bench.records[-1].deployment
    first, second = bench.records[0], bench.records[1]
    assert (first.deployment, first.key_name) == ("east", "key-1")
    assert (second.deployment, second.key_name) != ("east", "key-1")
    assert outcome.provider == "p" and outcome.vendor_model == "v"


@pytest.mark.parametrize("answer", [(500, {}), (504, {}), (400, {}), (413, {})])
async def test_what_may_be_paid_or_is_the_request_s_fault_stays_where_it_is(
    answer: tuple[int, dict[str, str]],
) -> None:
    bench = bench_of(answer)
    await run_all(bench, bench.item())
    assert bench.steps == ["started.1", "call a.1", "failed", "done.1"] and bench.requeued == []


async def test_a_broken_stream_is_never_called_again_here() -> None:
    bench = bench_of((200, {}))
    bench.body = b'data: {"error": {"message": "x", "code": "rate_limit_exceeded"}}\n\n'
    await run_all(bench, bench.item())
    error = bench.outcomes[0].error
    assert bench.steps[-2:] == ["failed", "done.1"] and error is not None and error.maybe_paid


async def test_each_target_gets_one_try_then_the_request_goes_back() -> None:
    bench = bench_of(*[(401, {})] * 3)
    await run_all(bench, bench.item())
    assert bench.steps == [
        "started.1", "call a.1", "started.2", "call a.2", "started.3", "call a.3", "failed", "done.3",
    ]  # fmt: skip
    assert {record.key_name for record in bench.records} == {"key-1", "key-2", "key-3"}
    error = bench.outcomes[0].error
    assert error is not None and (error.error_class, error.retriable) == ("auth", True)


async def test_nobody_is_called_while_every_key_is_refused() -> None:
    """The next task is told so at once, and route can go on to another model."""
    bench = bench_of(QUOTA, QUOTA, QUOTA)
    await run_all(bench, bench.item())
    bench.steps.clear()
    assert isinstance(bench.places.look(2, bench.mono), Refused)
    await bench.run(bench.item())
    assert bench.steps == ["failed", "done.0"]
    error = bench.outcomes[-1].error
    assert error is not None and (error.error_class, error.retriable) == ("spend_limit", False)
    assert not error.maybe_paid and bench.outcomes[-1].tries == 0


async def test_a_wait_is_for_the_targets_that_are_left() -> None:
    """All three were tried: the one that is free first is tried again, after the backoff."""
    bench = bench_of((503, {}), (503, {}), (503, {}), (200, {}))
    item = bench.item()
    await run_all(bench, item)
    assert item.ready_at > bench.now and bench.requeued[-1] is item
    await bench.run(item)
    assert bench.steps[-2:] == ["succeeded", "done.4"]


async def test_a_probe_that_is_answered_wakes_who_waits() -> None:
    bench = bench_of((401, {}), (200, {}), (200, {}), (200, {}), (200, {}))
    await run_all(bench, bench.item())
    assert bench.dropped == 1 and bench.told_changed == 0
    bench.mono += 5
    for _ in range(3):
        await bench.run(bench.item())
    assert bench.told_changed == 1, "by the first answer of the key that was benched"
    assert all(not t.benches.key.until for t in bench.places.targets)


async def test_an_item_without_an_owner_is_refused_by_the_next() -> None:
    bench = bench_of()
    item = bench.item()
    bench.owned.alive = False
    await bench.attempts.refuse(item, ErrorInfo(error_class="auth", message="m"))
    assert bench.steps == [] and bench.outcomes == []


async def test_where_nothing_was_called_several_deployments_name_none() -> None:
    values = CONFIG.model_dump(mode="json")
    values["models"]["m"] |= {
        "provider": "", "vendor_model": "",
        "deployments": [{"provider": "p", "vendor_model": v} for v in ("v1", "v2")],
    }  # fmt: skip
    bench = bench_of()
    item = bench.item(deadline_at=bench.now - 1)
    item.config = Config.model_validate(values)
    await bench.run(item)
    [outcome] = bench.outcomes
    assert outcome.status == "expired" and (outcome.provider, outcome.deployment) == (None, None)


@pytest.mark.parametrize("status", [400, 500, 200])
async def test_a_secret_that_is_echoed_is_not_told(status: int) -> None:
    """In an error's body, and in an error event inside a stream, also where the message is cut inside it."""
    secret = "planted-" + "s" * 40
    SECRETS.add(secret)
    for padding in (0, 440):
        text = "x" * padding + f" wrong key {secret}"
        bench = Bench([(status, {})])
        bench.error = {"message": text}
        bench.body = b"data: " + orjson.dumps({"error": {"message": text, "code": "x"}}) + b"\n\n"
        await bench.run(bench.item())
        error = bench.outcomes[0].error
        assert error is not None and "planted" not in error.message and "[redacted" in error.message
