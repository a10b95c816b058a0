"""A relay's partition: what it commits after failures, and what it does about refused copies."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from streams.services import relay_partition
from streams.services.relay_contract import Copy, RelaySettings
from streams.services.relay_partition import Overtaken, Partition
from streams.services.relay_producer import Refusals
from tests.fakes.relay import SETTINGS, SOURCE, TOO_LARGE, copy, refusal


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


async def test_an_opening_that_hangs_is_given_up(group: Group) -> None:
    async def never() -> int | None:
        await asyncio.Event().wait()
        return None

    partition = Partition(SETTINGS, SOURCE, never, refusal)
    with pytest.raises(TimeoutError, match="could not be opened"):
        await asyncio.wait_for(partition.open(), 5)
