"""The relay's rules that no real broker shows at will: failures between two of its steps."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, ProducerFenced

from schemas import names
from schemas.codec import Codec
from schemas.records import DeadLetter, ResultEvent
from schemas.registry import SchemaStore
from streams.services import relay, relay_partition, relay_producer
from streams.services.relay_contract import Copy, RelaySettings
from streams.services.relay_copies import Copies
from streams.services.relay_partition import Overtaken, Partition
from streams.services.relay_producer import Producer, Refusals

SETTINGS = RelaySettings("nowhere:1", "app", transaction_timeout_ms=100, transaction_grace_ms=0)
SOURCE = TopicPartition(names.RESULTS, 0)
TOO_LARGE = MessageSizeTooLargeError()


def copy(topic: str, value: bytes = b"") -> Copy:
    return Copy(topic, b"key", value, (), None)


def refusal(copy: Copy, error: Exception) -> Copy:
    return Copy("dead", b"", copy.value, (), None, refused=type(error).__name__)


class Group:
    """The group's offset, and what producers did to it. `refuses` says which attempts are refused, and how."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self.written: list[tuple[str, bytes | None]] = []
        self.attempts: list[list[str]] = []
        self.started = self.closed = 0
        self.failures: list[Exception] = []
        self.refuses: Callable[[Sequence[Copy], Any], dict[int, Exception]] = lambda copies, alone: {}
        self.at_start: Callable[[], None] = lambda: None

    async def read(self) -> int | None:
        return self.offset


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    group = Group()

    class FakeProducer:
        first_of_its_id = True

        def __init__(self, settings: RelaySettings, source: TopicPartition) -> None: ...

        async def start(self) -> None:
            group.started += 1
            group.at_start()

        async def transact(self, copies: Sequence[Copy], offset: int, alone: Any) -> Refusals:
            group.attempts.append([c.topic for c in copies])
            if group.failures:
                raise group.failures.pop(0)
            if refused := group.refuses(copies, alone):
                return refused
            group.written += [(c.topic, c.value) for c in copies]
            group.offset = offset
            return {}

        async def close(self) -> None:
            group.closed += 1

    monkeypatch.setattr(relay_partition, "Producer", FakeProducer)
    return group


async def opened(group: Group) -> Partition:
    partition = Partition(SETTINGS, SOURCE, group.read, refusal)
    await partition.open()
    await partition.begin(0)
    return partition


# -- a partition ---------------------------------------------------------------------------------------------


async def test_an_offset_whose_copies_were_aborted_is_not_committed_later(group: Group) -> None:
    partition = await opened(group)
    group.failures = [KafkaConnectionError()]
    with pytest.raises(KafkaConnectionError):
        await partition.write([copy("a")], 5)
    await partition.settle(at_once=True)  # as a rebalance that waited for the transaction does
    assert (group.offset, group.written) == (0, [])


async def test_an_offset_without_copies_is_committed(group: Group) -> None:
    partition = await opened(group)
    await partition.write([], 5)
    await partition.settle(at_once=True)
    assert group.offset == 5 and partition.passed == 5


async def test_only_copies_that_were_refused_alone_become_dead_letters(group: Group) -> None:
    def refuses(copies: Sequence[Copy], alone: Any) -> dict[int, Exception]:
        """A batch of topic b is refused for the one large copy in it."""
        return {
            i: TOO_LARGE
            for i, c in enumerate(copies)
            if c.topic == "b" and (c.value == b"large" or "b" not in alone)
        }

    partition = await opened(group)
    group.refuses = refuses
    copies = [copy("a"), copy("b", b"1"), copy("b", b"large"), copy("b", b"2")]
    written = await partition.write(copies, 9)
    assert [c.refused for c in written] == [None, None, "MessageSizeTooLargeError", None]
    assert group.written == [("a", b""), ("b", b"1"), ("dead", b"large"), ("b", b"2")]
    assert (group.offset, len(group.attempts)) == (9, 4), "begin, then: together, alone, with the letter"
    assert group.started == 3, "a producer whose batch was refused isn't used again"
    assert group.closed == 2


async def test_the_only_copy_for_a_topic_was_alone_already(group: Group) -> None:
    partition = await opened(group)
    group.refuses = lambda copies, alone: {i: TOO_LARGE for i, c in enumerate(copies) if c.topic == "b"}
    await partition.write([copy("b"), copy("a"), copy("a")], 9)
    assert [t for t, _ in group.written] == ["dead", "a", "a"]
    assert len(group.attempts) == 3


async def test_a_partition_that_was_taken_over_meanwhile_writes_nothing_more(group: Group) -> None:
    """A new producer fences the rightful owner's: it must not also repeat what that one has copied."""
    partition = await opened(group)
    group.refuses = lambda copies, alone: {0: TOO_LARGE} if copies and copies[0].topic == "b" else {}

    def overtaken() -> None:
        group.offset = 9

    group.at_start = overtaken
    with pytest.raises(Overtaken):
        await partition.write([copy("b"), copy("a")], 9)
    assert group.written == []


# -- a producer ----------------------------------------------------------------------------------------------


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


# -- which topics exist --------------------------------------------------------------------------------------


class Record:
    """A ConsumerRecord as far as it is read."""

    topic, partition, offset, timestamp, key, headers = names.RESULTS, 0, 7, 1, b"acme", ()

    def __init__(self, codec: Codec, reply_topic: str) -> None:
        event = ResultEvent(
            event_id="e", kind="terminal", request_id="r", tenant="acme", status="succeeded",
            config_version="v", accepted_at=1, completed_at=2, reply_topic=reply_topic,
        )  # fmt: skip
        self.value = codec.encode(event, names.RESULTS)


async def test_the_list_of_topics_is_asked_again_by_age_and_outlives_an_answer_that_fails() -> None:
    codec, topics, answers = Codec(SchemaStore()), {"replies"}, []

    async def ask() -> set[str]:
        if answers:
            raise answers.pop()
        return set(topics)

    settings = RelaySettings("nowhere:1", "app", topics_every_ms=0, topics_age_ms=50)
    copies = Copies(settings, codec, lambda: 7, ask)
    record = Record(codec, "replies")

    async def reason() -> str | None:
        made = await copies.of(record)
        assert made is not None
        return made.refused

    assert await reason() is None
    topics.clear()
    assert await reason() is None, "young enough"
    await asyncio.sleep(0.06)
    answers.append(KafkaConnectionError())
    assert await reason() is None, "a broker that doesn't answer says nothing about the topic"
    assert await reason() == "reply_topic_missing"


def test_a_refusal_says_what_to_mend() -> None:
    codec = Codec(SchemaStore())

    async def ask() -> set[str]:
        return {"replies"}

    copies = Copies(SETTINGS, codec, lambda: 7, ask)
    made = asyncio.run(copies.of(Record(codec, "replies")))
    assert made is not None
    letter = codec.decode(copies.refusal(made, TOO_LARGE).value, DeadLetter)
    assert (letter.reason, letter.source_offset, letter.request_id) == ("reply_topic_refused", 7, "r")
    assert letter.claimed_tenant == "acme" and letter.value == made.value
    assert "'replies'" in letter.message and "max.message.bytes" in letter.message


# -- rebalances ----------------------------------------------------------------------------------------------


class Silent:
    """Observes nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class FakePartition:
    """An open partition that notes what is done with it."""

    passed, committed, opened_before = 3, 3, False

    def __init__(self, tp: TopicPartition, log: list[str]) -> None:
        self.source, self.log = tp, log
        self.fails_to: dict[str, Exception] = {}
        self.opens = asyncio.Event()
        self.opens.set()

    async def _do(self, what: str) -> None:
        self.log.append(f"{what} {self.source.partition}")
        if what in self.fails_to:
            raise self.fails_to[what]

    async def open(self) -> None:
        await self._do("open")
        await self.opens.wait()

    async def begin(self, offset: int) -> None: ...

    async def settle(self, at_once: bool = False) -> None:
        await self._do("settle")

    async def write(self, copies: Sequence[Copy], offset: int) -> Sequence[Copy]:
        await self._do("write")
        return copies

    async def close(self) -> None:
        await self._do("close")


class FakeConsumer:
    """A consumer to which the test assigns partitions."""

    def __init__(self) -> None:
        self.stopped = False
        self.records: dict[TopicPartition, list[Any]] = {}

    async def start(self) -> None: ...

    def subscribe(self, topics: list[str], listener: Any) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def assignment(self) -> set[TopicPartition]:
        return set()

    async def committed(self, tp: TopicPartition) -> int:
        return 3

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 9)

    async def position(self, tp: TopicPartition) -> int:
        return 3

    def seek(self, tp: TopicPartition, offset: int) -> None: ...

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0.01)
        return {}


class Rig:
    """A relay whose partitions and consumer are fakes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.consumer = FakeConsumer()
        self.partitions = {n: FakePartition(TopicPartition(names.RESULTS, n), self.log) for n in range(3)}
        monkeypatch.setattr(relay, "Partition", lambda settings, tp, *more: self.partitions[tp.partition])
        monkeypatch.setattr(relay, "AIOKafkaConsumer", lambda **options: self.consumer)
        self.relay = relay.Relay(SETTINGS, Codec(SchemaStore()), Silent(), lambda: 7)
        self.stop = asyncio.Event()
        self.running = asyncio.create_task(self.relay.run(self.stop))

    def tps(self, *numbers: int) -> list[TopicPartition]:
        return [TopicPartition(names.RESULTS, n) for n in numbers]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)


async def test_a_partition_that_fails_when_it_is_taken_away_keeps_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    rig.relay.assigned(rig.tps(0, 1, 2))
    await rig.until(rig.relay.ready)
    rig.partitions[0].fails_to = {"settle": ProducerFenced(), "close": KafkaConnectionError()}
    await rig.relay.revoked(rig.tps(0, 1, 2))
    assert {f"{what} {n}" for what in ("settle", "close") for n in range(3)} <= set(rig.log)
    with pytest.raises(ProducerFenced):  # the first of them
        await asyncio.wait_for(rig.running, 5)
    assert rig.consumer.stopped


async def test_a_fenced_worker_ends_though_aiokafka_swallows_what_its_listener_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    rig.relay.assigned(rig.tps(0))
    await rig.until(rig.relay.ready)
    rig.partitions[0].fails_to = {"settle": ProducerFenced()}
    await rig.relay.revoked(rig.tps(0))
    with pytest.raises(ProducerFenced):
        await asyncio.wait_for(rig.running, 5)


async def test_a_partition_taken_away_while_another_opens_is_not_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Opening it would fence its rightful owner."""
    rig = Rig(monkeypatch)
    for partition in rig.partitions.values():
        partition.opens.clear()
    rig.relay.assigned(rig.tps(0, 1, 2))
    await rig.until(lambda: bool(rig.log))
    revoking = asyncio.create_task(rig.relay.revoked(rig.tps(0, 1, 2)))
    await asyncio.sleep(0.01)
    for partition in rig.partitions.values():
        partition.opens.set()
    await asyncio.wait_for(revoking, 5)
    opened = [entry for entry in rig.log if entry.startswith("open")]
    assert len(opened) == 1
    assert opened[0].replace("open", "close") in rig.log
    rig.stop.set()
    await asyncio.wait_for(rig.running, 5)
    assert [entry for entry in rig.log if entry.startswith("open")] == opened


async def test_a_rebalance_that_waited_for_a_failure_commits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.relay.assigned(rig.tps(0, 1))
    await rig.until(rig.relay.ready)
    revoking: list[asyncio.Task[None]] = []

    async def fails(copies: Sequence[Copy], offset: int) -> Sequence[Copy]:
        revoking.append(asyncio.create_task(rig.relay.revoked(rig.tps(0, 1))))
        await asyncio.sleep(0.02)  # the rebalance waits for the turn now
        raise KafkaConnectionError()

    async def is_slower(copies: Sequence[Copy], offset: int) -> Sequence[Copy]:
        await asyncio.sleep(0.05)
        rig.log.append("written 1")
        return copies

    rig.log.clear()
    rig.partitions[0].write, rig.partitions[1].write = fails, is_slower  # type: ignore[method-assign]
    with pytest.raises(KafkaConnectionError):
        await asyncio.wait_for(rig.running, 5)
    await asyncio.wait_for(revoking[0], 5)
    assert rig.log.index("written 1") < rig.log.index("close 1"), "the turn ends with all of its writers"
    assert not [entry for entry in rig.log if entry.startswith("settle")]
    assert "close 0" in rig.log
