"""What a reconciliation finds: gaps, each with where it is, and what explains rows that are rightly not there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sinks.ledger import Partition


class Kind(StrEnum):
    """Kinds of gaps. All but NEW_TABLE count: with one of them the answer is no."""

    MISSING = "missing"
    NO_LETTER = "no_letter"
    DUPLICATED = "duplicated"
    STRAY = "stray"
    LATE = "late"
    RECREATED = "recreated"
    LOST = "lost"
    CHANGED = "changed"
    CHAIN = "chain_broken"
    NO_RESULT = "no_result"
    TWO_RESULTS = "two_results"
    ACCEPTED_TWICE = "accepted_twice"
    NOT_ACCEPTED = "not_accepted"
    NO_END = "no_end"
    NO_USAGE = "no_usage"
    NO_ATTEMPT = "no_attempt"
    EVENT_TWICE = "event_twice"
    NEW_TABLE = "new_table"


MEANINGS: Final = {
    Kind.MISSING: "Kafka has the record, the table lacks its row",
    Kind.NO_LETTER: "a record that can be no row has no dead letter either",
    Kind.DUPLICATED: "the table has the row of one record more than once",
    Kind.STRAY: "a row whose offset holds no committed record, or none that makes such a row",
    Kind.LATE: "records that should have landed by now: the sink is behind",
    Kind.RECREATED: "the ledger is ahead of the topic: the topic was made anew, or has lost records",
    Kind.LOST: "Kafka deleted the records before they had landed, or before a gap among them was mended",
    Kind.CHANGED: "rows of a range that agreed with Kafka once aren't the same any more, and Kafka has deleted it",
    Kind.CHAIN: "a number of the audit chain is missing, and Kafka has deleted where it was",
    Kind.NO_RESULT: "accepted, its deadline and grace are over, and there is no terminal result",
    Kind.TWO_RESULTS: "more than one terminal result for one accepted request",
    Kind.ACCEPTED_TWICE: "one request was accepted twice",
    Kind.NOT_ACCEPTED: "a terminal result of a request that was never accepted",
    Kind.NO_END: "a provider call was started, its time is over, and the journal has no end of it",
    Kind.NO_USAGE: "an attempt has ended and no usage was recorded",
    Kind.NO_ATTEMPT: "usage of a provider call that the journal doesn't know",
    Kind.EVENT_TWICE: "one event lies at two offsets: its producer doubled it",
    Kind.NEW_TABLE: "landed before the table existed; --repair fills it in",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One gap, or a run of gaps of one kind: `count` rows or events at offsets `first` to `last` of a partition.

    `subject` is an attempt id or event id. `mended`: a repair has put it right. `note` says what else is known,
    such as why a repair couldn't.
    """

    kind: Kind
    table: str = ""
    topic: str = ""
    partition: int = 0
    first: int = -1
    last: int = -1
    count: int = 1
    tenant: str = ""
    request_id: str = ""
    subject: str = ""
    mended: bool = False
    note: str = ""

    @property
    def is_gap(self) -> bool:
        """Whether it counts: it is none that was mended, and none that is as it should be."""
        return not self.mended and self.kind is not Kind.NEW_TABLE

    @property
    def place(self) -> str:
        """Where it is, for people."""
        if self.topic:
            offsets = (
                f"offset {self.first}" if self.first == self.last else f"offsets {self.first}-{self.last}"
            )
            where = f"{self.topic}-{self.partition}" + (f" {offsets}" if self.first >= 0 else "")
        else:
            where = f"{self.request_id} ({self.tenant})" if self.request_id else self.subject
        if self.subject and where != self.subject:
            where += f" {self.subject}"
        return f"{self.table}: {where}" if self.table else where


@dataclass(slots=True)
class Checked:
    """What was compared of one partition: positions [start, end).

    `records` Kafka has there, `rows` by table ClickHouse. `explained` counts rows that are rightly missing, by
    why. `clean` and `dirty` are the stretches without and with gaps. `deleted`: positions that Kafka has deleted,
    `sealed` of them known from an earlier reconciliation. `waiting`: positions behind `end` that have not landed.
    """

    at: Partition
    start: int
    end: int
    records: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    gaps: int = 0
    explained: dict[str, int] = field(default_factory=dict)
    clean: list[tuple[int, int]] = field(default_factory=list)
    dirty: list[tuple[int, int]] = field(default_factory=list)
    deleted: int = 0
    sealed: int = 0
    waiting: int = 0

    def explain(self, why: str, count: int = 1) -> None:
        """Count `count` rows as missing for a good reason."""
        self.explained[why] = self.explained.get(why, 0) + count

    def note(self, start: int, end: int, is_clean: bool) -> None:
        """Note a stretch as clean or dirty; one that goes on where the last one ended is the same."""
        stretches = self.clean if is_clean else self.dirty
        if stretches and stretches[-1][1] == start:
            stretches[-1] = (stretches[-1][0], end)
        elif end > start:
            stretches.append((start, end))


def runs(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Runs of neighbours: (first offset, last offset, how many) of (number of the record, its offset), in order."""
    first = last = number = -1
    count = 0
    for n, offset in places:
        if count and n == number + 1:
            last, number, count = offset, n, count + 1
            continue
        if count:
            yield first, last, count
        first, last, number, count = offset, offset, n, 1
    if count:
        yield first, last, count
