"""The relay's transactions: what counts as a refusal, what stays fatal, and what is given up."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, ProducerFenced

from streams.services import relay_producer
from streams.services.relay_producer import Producer
from tests.fakes.relay import SETTINGS, SOURCE, TOO_LARGE, copy, refusal


class FakeKafka:
    """aiokafka's producer. `fates` are what becomes of each send, by topic ("hangs" never ends, and sending to "now"
    raises at once); `abort` is what aborting raises."""

    def __init__(self, fates: dict[str, Exception], abort: Exception | None = None) -> None:
        self.fates, self.abort = fates, abort
        self.calls: list[str] = []

    async def begin_transaction(self) -> None:
        self.calls.append("begin")

    async def send(self, topic: str, value: Any, **more: Any) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if topic == "now":
            raise self.fates[topic]
        if topic in self.fates:
            future.set_exception(self.fates[topic])
        elif topic != "hangs":
            future.set_result(None)
        return future

    async def send_offsets_to_transaction(self, offsets: Any, group: str) -> None:
        self.calls.append("offsets")

    async def commit_transaction(self) -> None:
        self.calls.append("commit")

    async def abort_transaction(self) -> None:
        self.calls.append("abort")
        if self.abort is not None:
            raise self.abort


def producer(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> Producer:
    monkeypatch.setattr(relay_producer, "AIOKafkaProducer", lambda **options: kafka)
    return Producer(SETTINGS, SOURCE)


async def test_a_refusal_is_told_though_other_copies_failed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused batch makes aiokafka fail others of the transaction, earlier ones too."""
    kafka = FakeKafka({"a": KafkaConnectionError(), "b": TOO_LARGE})
    refusals = await producer(kafka, monkeypatch).transact([copy("a"), copy("b")], 2, ())
    assert refusals == {1: TOO_LARGE}
    assert kafka.calls == ["begin", "abort"]


async def test_a_copy_that_aiokafka_itself_refuses_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = FakeKafka({"now": TOO_LARGE})
    refusals = await producer(kafka, monkeypatch).transact([copy("now"), copy("a")], 2, ())
    assert refusals == {0: TOO_LARGE}
    assert kafka.calls == ["begin", "abort"]


async def test_a_fenced_producer_is_never_taken_for_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = FakeKafka({"b": TOO_LARGE}, abort=ProducerFenced())
    with pytest.raises(ProducerFenced):
        await producer(kafka, monkeypatch).transact([copy("b")], 2, ())
    kafka = FakeKafka({"b": ProducerFenced()})
    with pytest.raises(ProducerFenced):
        await producer(kafka, monkeypatch).transact([copy("b")], 2, ())
    assert "commit" not in kafka.calls


async def test_a_refused_dead_letter_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = FakeKafka({"dead": TOO_LARGE})
    with pytest.raises(MessageSizeTooLargeError):
        await producer(kafka, monkeypatch).transact([refusal(copy("b"), TOO_LARGE)], 2, ())
    assert "commit" not in kafka.calls


async def test_a_transaction_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = FakeKafka({})
    with pytest.raises(TimeoutError, match="hangs"):
        await asyncio.wait_for(producer(kafka, monkeypatch).transact([copy("hangs")], 2, ()), 5)
    assert kafka.calls == ["begin", "abort"]
