"""Writes chunks exactly once: intent, rows, done. Whoever finds an intent open finishes exactly its ranges.

    intent    the ledger advances to a state in which the ranges are taken        (one writer wins)
    rows      one block a table, under a token made of the ranges                 (applied once, however often sent)
    done      the ledger advances to a state in which the intent isn't open
    commit    the consumer's offsets, for those who look at lag; the ledger is what counts

A process may die, or lose its partitions, between any two of these. Before the intent nothing has happened. After it
the next owner finds it open, reads the same ranges from Kafka again, leaves out what is in the tables already, and
writes the rest under the same tokens: that of the first writer, should it still run, is then the same block.
"""

import logging
import uuid
from collections.abc import Collection, Sequence

from sinks.chunks import Chunk
from sinks.dead_letter import letter
from sinks.landing import Landing, Parts, Source
from sinks.ledger import Busy, Intent, NotNew, Partition, Range
from sinks.mapping import Mapper
from sinks.register import Register
from sinks.rows import MAPPING

log = logging.getLogger(__name__)


class Lost(Exception):
    """Another worker has gone on from where the chunk begins. Nothing of it was written; open its partitions anew."""


class Writer:
    """The protocol for one worker. Its calls don't overlap; each may be cancelled at any point."""

    def __init__(self, parts: Parts, mapper: Mapper, source: Source) -> None:
        self._parts = parts
        self._mapper = mapper
        self._source = source
        self._register = Register(parts.store, parts.patience, parts.worker, parts.clock)
        self._landing = Landing(parts, self._register, source)

    async def open(self, partitions: Collection[Partition]) -> dict[Partition, int | None]:
        """Finish what is open of `partitions` and return where each goes on; None for one never written."""
        state = await self._register.refresh()
        while intent := next((i for i in state.open if i.touches(partitions)), None):
            await self._finish(intent)
            state = await self._register.refresh()
        tips = {at: state.tip(at) for at in partitions}
        return {at: tip.end if tip else None for at, tip in tips.items()}

    async def write(self, chunk: Chunk) -> None:
        """Write `chunk`, and return when all its rows are in. Raises Lost."""
        started = self._parts.clock()
        intent = Intent(id=uuid.uuid4().hex, ranges=chunk.ranges, mapping=MAPPING)
        self._parts.crash_point("sink.before_intent")
        try:
            lease = await self._register.advance(lambda state: state.intend(intent, chunk.gaps), chunk.gaps)
        except (NotNew, Busy) as error:
            self._parts.metrics.lost()
            raise Lost(str(error)) from error
        self._parts.crash_point("sink.after_intent")
        await self._landing.bury(chunk.mapped.rejected)
        await self._landing.land(intent, chunk.mapped.rows, lease)
        await self._done(intent)
        self._parts.metrics.chunk(self._parts.clock() - started, chunk.mapped.row_count, chunk.mapped.size)

    async def _finish(self, intent: Intent) -> None:
        """Write an intent that was found open, by whomever it was recorded."""
        log.info("finishing an intent of %d ranges, found open", len(intent.ranges))
        if intent.mapping != MAPPING:
            log.warning("intent %s was made by mapping %d; this is %d", intent.id, intent.mapping, MAPPING)
        reread = await self._source.read(intent.ranges)
        mapped = await self._mapper.map(reread.records)
        refused = {(e.topic, e.partition, e.offset) for e in intent.excluded}
        found = [r for r in reread.records if (r.topic, r.partition, r.offset) in refused]
        letters = [letter(r, "refused", "a table refuses the row of this record") for r in found]
        await self._landing.bury([*mapped.rejected, *letters])
        await self._landing.land(intent, mapped.rows, None)
        await self._done(intent, reread.gaps)
        self._parts.metrics.repeated()

    async def _done(self, intent: Intent, gaps: Sequence[Range] = ()) -> None:
        self._parts.crash_point("sink.after_insert")
        await self._register.advance(lambda state: state.finish(intent.id), gaps)
        self._parts.crash_point("sink.after_done")
