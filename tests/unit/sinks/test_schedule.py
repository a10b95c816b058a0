"""The schedule beside a sink: what it can't compare now it tells, and the sink goes on."""

import asyncio

import pytest
from aiokafka import TopicPartition

from sinks.reader import ReadStalled, TopicRecreated
from sinks.reconcile.accounts import Terms
from sinks.reconcile.topics import TopicMissing
from sinks.store import Unavailable
from streams import metrics
from streams.services import reconcile
from streams.services.reconcile import Schedule, Setup


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("ClickHouse is away"),
        TopicMissing("topic llm.usage doesn't exist"),
        ReadStalled("no records"),
        TopicRecreated(TopicPartition("llm.usage", 0), 7, 30),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_run_that_can_not_be_made_is_counted_and_the_next_one_follows(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Looks(Schedule):
        def __init__(self) -> None:
            setup = Setup("", *[None] * 7)  # type: ignore[arg-type]  # nothing of it is used
            monkeypatch.setattr(reconcile, "Book", lambda *_: None)
            super().__init__(setup, 0.002, 300, Terms)
            self.left = [error]

        async def look(self) -> None:
            if not self.left:
                raise asyncio.CancelledError
            raise self.left.pop()

    failed = metrics.RECONCILE_RUNS.labels("failed")
    before = failed._value.get()
    with pytest.raises(asyncio.CancelledError):
        await Looks().run()
    assert failed._value.get() == before + 1 and str(error) in caplog.text
