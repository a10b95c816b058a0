"""The sink's ledger, as pure data: which ranges of the topics are in ClickHouse, and which are on their way.

A *range* is [start, end) of consumer positions in one topic-partition. Positions that hold no record (transaction
markers, aborted or compacted records) are normal: the next range starts where the last one ended.
An *intent* is a set of ranges whose rows go in together, one block for each table. It is recorded before the first
of its rows is written, and stays open until all are in; whoever finds it open writes exactly its ranges again.
The *state* is the last range of every topic-partition and the open intents. It advances by versions, each of which
one writer wins (`sinks.register`), so that two owners of a partition can never both go on from the same state.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

FORMAT_VERSION: Final = 1

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""

Coordinates = tuple[str, int, int]
"""Topic, partition and offset of one record."""


class Verdict(StrEnum):
    NEW = "new"
    SAME = "same"
    OVERLAP = "overlap"
    CONTAINED = "contained"
    PREVIOUS = "previous"
    GAP = "gap"


class Range(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Positions [start, end) of a topic-partition; end > start."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def at(self) -> Partition:
        return self.topic, self.partition

    def __contains__(self, coordinates: Coordinates) -> bool:
        topic, partition, offset = coordinates
        return topic == self.topic and partition == self.partition and self.start <= offset < self.end


class Excluded(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A record whose row a table refuses: it is a dead letter, and no repeat of its intent tries it again."""

    table: str
    topic: str
    partition: int
    offset: int


class Intent(msgspec.Struct, frozen=True):
    """`mapping` is the version of the code that made the rows (`rows.MAPPING`) when the intent was recorded."""

    id: str
    ranges: tuple[Range, ...]
    mapping: int
    excluded: tuple[Excluded, ...] = ()

    def touches(self, partitions: Iterable[Partition]) -> bool:
        mine = {r.at for r in self.ranges}
        return any(p in mine for p in partitions)


class NotNew(Exception):
    """The state has gone on from where a chunk begins: `verdicts` says for each range that isn't new what it is."""

    def __init__(self, verdicts: Mapping[Range, Verdict]) -> None:
        super().__init__(
            ", ".join(f"{r.topic}-{r.partition} [{r.start}, {r.end}): {v}" for r, v in verdicts.items())
        )
        self.verdicts = dict(verdicts)


class Busy(Exception):
    """An open intent touches the ranges: it must be finished first."""

    def __init__(self, intent: Intent) -> None:
        super().__init__(f"intent {intent.id} is open")
        self.intent = intent


def decide(stored: Range | None, batch: Range) -> Verdict:
    """What `batch` is to `stored`, the last range recorded of the same topic-partition.

    | verdict   | when                                            | what the sink does with the batch                |
    |-----------|-------------------------------------------------|--------------------------------------------------|
    | new       | nothing stored, or batch.start = stored.end     | records an intent and writes it                  |
    | same      | batch = stored                                  | stored open: finishes it; done: skips the batch  |
    | previous  | batch.end <= stored.start                       | skips it: those before the last are always done  |
    | contained | batch.end <= stored.end, neither of the above   | as for same: nothing in it lies beyond stored    |
    | overlap   | batch.start < stored.end < batch.end            | as for same, then goes on from stored.end        |
    | gap       | batch.start > stored.end                        | goes back to stored.end; where Kafka has deleted |
    |           |                                                 | that, records the gap and goes on                |

    Raises ValueError for an empty batch, and for ranges of different partitions.
    """
    if batch.end <= batch.start:
        raise ValueError(f"an empty range: {batch}")
    if stored is None:
        return Verdict.NEW
    if stored.at != batch.at:
        raise ValueError(f"ranges of different partitions: {stored} and {batch}")
    if batch.start == stored.end:
        return Verdict.NEW
    if batch.start > stored.end:
        return Verdict.GAP
    if batch == stored:
        return Verdict.SAME
    if batch.end <= stored.start:
        return Verdict.PREVIOUS
    return Verdict.CONTAINED if batch.end <= stored.end else Verdict.OVERLAP


class State(msgspec.Struct, frozen=True):
    """`tips` holds the last range of each topic-partition, sorted; `open` the intents whose rows may be missing."""

    tips: tuple[Range, ...] = ()
    open: tuple[Intent, ...] = ()

    def tip(self, at: Partition) -> Range | None:
        return next((r for r in self.tips if r.at == at), None)

    def find(self, intent_id: str) -> Intent | None:
        return next((i for i in self.open if i.id == intent_id), None)

    def intend(self, intent: Intent, gaps: Iterable[Range] = ()) -> "State":
        """This state with `intent` recorded.

        `gaps` are ranges that Kafka no longer has; a range of the intent may start at the end of one.
        Raises Busy where an open intent touches its partitions, NotNew where a range doesn't start at the tip.
        """
        tips = {r.at: r for r in self.tips}
        for other in self.open:
            if other.touches(r.at for r in intent.ranges):
                raise Busy(other)
        lost = {r.at: r for r in gaps}
        wrong: dict[Range, Verdict] = {}
        for r in intent.ranges:
            verdict = decide(tips.get(r.at), r)
            if verdict is Verdict.GAP and _bridges(lost.get(r.at), tips[r.at], r):
                verdict = Verdict.NEW
            if verdict is not Verdict.NEW:
                wrong[r] = verdict
            tips[r.at] = r
        if wrong:
            raise NotNew(wrong)
        return State(tips=tuple(sorted(tips.values())), open=(*self.open, intent))

    def exclude(self, intent_id: str, excluded: Iterable[Excluded]) -> "State":
        """This state with rows of an open intent excluded; unchanged where the intent isn't open any more."""
        return msgspec.structs.replace(
            self, open=tuple(_without(i, excluded) if i.id == intent_id else i for i in self.open)
        )

    def finish(self, intent_id: str) -> "State":
        """This state without the intent among the open ones."""
        return msgspec.structs.replace(self, open=tuple(i for i in self.open if i.id != intent_id))


def _bridges(gap: Range | None, tip: Range, batch: Range) -> bool:
    return gap is not None and gap.start == tip.end and gap.end == batch.start


def _without(intent: Intent, excluded: Iterable[Excluded]) -> Intent:
    return msgspec.structs.replace(intent, excluded=tuple(sorted({*intent.excluded, *excluded})))


class Version(msgspec.Struct, frozen=True):
    """One version of the state. `id` tells who wrote it; `gaps` are ranges that Kafka had deleted before it."""

    sequence: int
    id: str
    worker: str
    state: State
    gaps: tuple[Range, ...] = ()
    format_version: int = FORMAT_VERSION


START: Final = Version(sequence=0, id="", worker="", state=State())


def token(table: str, ranges: Iterable[Range], again: int = 0) -> str:
    """The deduplication token of the block that `ranges` make for `table`.

    One range reads `table:topic-partition-first-last`; several are hashed. `again` counts the repeats of a block
    whose token the engine knows although the rows aren't there.
    """
    names = [f"{r.topic}-{r.partition}-{r.start}-{r.end - 1}" for r in sorted(ranges)]
    name = names[0] if len(names) == 1 else hashlib.sha256("\n".join(names).encode()).hexdigest()
    return f"{table}:{name}" + (f":{again}" if again else "")
