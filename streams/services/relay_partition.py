"""One input partition of the relay: how far it was handled, and how far that is committed."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import TopicPartition

from streams.services.relay_contract import Copy, RelaySettings
from streams.services.relay_producer import Producer


class Overtaken(RuntimeError):
    """Another worker has committed for this partition while we believed it ours."""


class Partition:
    """One open input partition.

    `read_committed` asks for the group's committed offset; `refusal` makes the dead letter of a refused copy.
    """

    def __init__(
        self,
        settings: RelaySettings,
        source: TopicPartition,
        read_committed: Callable[[], Awaitable[int | None]],
        refusal: Callable[[Copy, Exception], Copy],
    ) -> None:
        self.source = source
        self._settings, self._read_committed, self._refusal = settings, read_committed, refusal
        self._producer = Producer(settings, source)
        self._passed: int | None = None
        self._committed: int | None = None
        self._committed_at = time.monotonic()

    @property
    def begun(self) -> bool:
        """Whether it is known where it goes on."""
        return self._passed is not None

    @property
    def passed(self) -> int:
        """Where it goes on, for one that has begun."""
        assert self._passed is not None
        return self._passed

    @property
    def committed(self) -> int | None:
        """The group's committed offset. While we are the owner, nobody else moves it."""
        return self._committed

    @property
    def opened_before(self) -> bool:
        """Whether Kafka remembers an earlier opening of this partition."""
        return not self._producer.first_of_its_id

    async def open(self) -> None:
        """Fence the previous owner, then read how far it came."""
        self._committed = await self._start()

    async def begin(self, offset: int) -> None:
        """Go on at `offset`. It is committed at once: an opened partition without a position has lost it."""
        self._passed = offset
        await self.settle(at_once=True)

    async def write(self, copies: Sequence[Copy], offset: int) -> Sequence[Copy]:
        """The copies and the offset in one transaction; an offset without copies may wait for company.

        Returns what was written: a dead letter in place of each copy that its topic refused.
        """
        if not copies:
            self._passed = offset
            await self.settle()
            return copies
        written = list(copies)
        alone = {topic for topic, count in Counter(c.topic for c in copies).items() if count == 1}
        while refusals := await self._producer.transact(written, offset, alone):
            suspected = {written[index].topic for index in refusals}
            for index, error in refusals.items():
                if written[index].topic in alone:
                    written[index] = self._refusal(written[index], error)
            alone |= suspected
            await self._reopen()
        self._is_committed(offset)
        return written

    async def settle(self, at_once: bool = False) -> None:
        """Commit an offset that has waited long enough."""
        due = at_once or (time.monotonic() - self._committed_at) * 1000 >= self._settings.offsets_every_ms
        if due and self._passed is not None and self._passed != self._committed:
            await self._producer.transact([], self._passed, ())
            self._is_committed(self._passed)

    async def close(self) -> None:
        """Let go of the partition."""
        await self._producer.close()

    def _is_committed(self, offset: int) -> None:
        # Only now: a rebalance commits what was passed, which must not be what an aborted transaction held.
        self._passed = self._committed = offset
        self._committed_at = time.monotonic()

    async def _reopen(self) -> None:
        """A new producer for the old one. Raises Overtaken where another owner has been at work between them."""
        await self._producer.close()
        self._producer = Producer(self._settings, self.source)
        committed = await self._start()
        if committed != self._committed:
            raise Overtaken(
                f"{self.source.topic}-{self.source.partition} is committed up to {committed}, not {self._committed}: "
                "another worker owns it"
            )

    async def _start(self) -> int | None:
        try:
            async with asyncio.timeout(self._settings.step_s):
                await self._producer.start()
                return await self._read_committed()
        except TimeoutError as error:
            name = f"{self.source.topic}-{self.source.partition}"
            raise TimeoutError(
                f"{name} could not be opened in {self._settings.step_s:g} s: the broker doesn't answer"
            ) from error
