"""The ledger as a register that several writers advance one at a time, over a store without transactions.

Version n + 1 is written under the deduplication token `ledger:<n + 1>`, which the store applies for one writer
only; the writer then reads back whose version it is. So of two workers that believe they own a partition one
records its intent first, and the other sees it before it has written a row. Nothing depends on clocks: the lease
only bounds how late a request of a stopped process may still arrive, so that the store still knows the token.
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Final

from sinks.ledger import START, Range, State, Version
from sinks.patience import Patience
from sinks.store import LeaseOver, Reading, Store

LEASE_MS: Final = 60_000
_STALE_S: Final = 15.0
_LOOKS: Final = 5

Clock = Callable[[], float]


class LedgerWentBack(RuntimeError):
    """The store has lost versions of the ledger: what it says of ranges can't be trusted."""


class Register:
    """One worker's view of the ledger. `version` is the last version that it has seen."""

    def __init__(self, store: Store, patience: Patience, worker: str, clock: Clock) -> None:
        self._store = store
        self._patience = patience
        self._worker = worker
        self._clock = clock
        self.version: Version = START
        self._lease = 0
        self._read_at = float("-inf")

    @property
    def state(self) -> State:
        return self.version.state

    async def refresh(self) -> State:
        """Read the last version, and with it a new lease."""
        self._adopt(await self._patience.persist(self._store.latest, "read the ledger"))
        return self.state

    async def lease(self) -> int:
        """Until when (ms of the store's clock) what was last read may be acted upon; reads anew when that is old."""
        if self._clock() - self._read_at > _STALE_S:
            await self.refresh()
        return self._lease

    async def advance(self, change: Callable[[State], State], gaps: Iterable[Range] = ()) -> int:
        """Make `change` to the state, whatever version that has come to.

        Returns the lease under which it was made: it began when the change was not made yet.
        What `change` raises goes through, and nothing is written then.
        """
        while True:
            lease = await self.lease()
            state = change(self.state)
            if state == self.state:
                return lease
            proposal = Version(
                sequence=self.version.sequence + 1,
                id=uuid.uuid4().hex,
                worker=self._worker,
                state=state,
                gaps=tuple(gaps),
            )
            if await self._append(proposal, lease):
                return lease

    async def _append(self, proposal: Version, lease: int) -> bool:
        """Try to make `proposal` the version of its number; False when another has it."""
        again = 0
        while True:
            token = f"ledger:{proposal.sequence}" + (f":{again}" if again else "")
            over = False
            try:
                await self._patience.persist(
                    lambda: self._store.append(proposal, token, lease),  # noqa: B023 (awaited at once)
                    "write the ledger",
                )
            except LeaseOver:
                over = True
            winner = await self._look(proposal.sequence, 1 if over else _LOOKS)
            if winner is not None:
                return winner.id == proposal.id
            lease = self._lease
            if not over:
                # Acknowledged, yet not there: the engine was killed between noting the token and keeping the
                # block. Nobody can write under this token any more; everybody goes on to the next.
                again += 1

    async def _look(self, sequence: int, times: int) -> Version | None:
        """Whose version has the number `sequence`, None when nobody's. What is adopted is the last version."""
        for turn in range(times):
            if turn:
                await self._patience.sleep(0.05 * turn)
            await self.refresh()
            if self.version.sequence == sequence:
                return self.version
            if self.version.sequence > sequence:
                found = await self._patience.persist(lambda: self._store.version(sequence), "read the ledger")
                return found or self.version  # where it was trimmed, many others have won since
        return None

    def _adopt(self, reading: Reading) -> None:
        last = reading.last or START
        seen = (self.version.sequence, self.version.id)
        if last.sequence < seen[0] or (last.sequence == seen[0] and last.id != seen[1]):
            raise LedgerWentBack(
                f"the ledger's last version is {last.sequence} ({last.id}), but this worker has seen {seen[0]} "
                f"({seen[1]}): the database was restored or has lost writes. See SluiceSinkPaused in docs/runbook.md"
            )
        self.version = last
        self._lease = reading.now + LEASE_MS
        self._read_at = self._clock()
