"""The route stage of one partition: records and timers in, events and state changes out, no I/O."""

from collections.abc import Iterator
from typing import assert_never

from processors.budget import Hold
from processors.clock import Clock
from processors.route import changelog, due
from processors.route.admit import Admission
from processors.route.changelog import Changelog
from processors.route.changes import RequestPut
from processors.route.controls import handle_control
from processors.route.dedupe import HOUR_MS
from processors.route.draft import Draft
from processors.route.emit import Emit, Source
from processors.route.open_request import due_of, unpack
from processors.route.outcomes import handle_outcome
from processors.route.poison import handle_poison
from processors.route.seams import ConfigLookup, Seams
from processors.route.settle import hold_of
from processors.route.state import State
from processors.route.timers import Timers
from schemas.records import ClassifiedRequest, Control, Outcome

Record = ClassifiedRequest | Outcome | Control


class RouteMachine:
    """Single writer of the requests whose tenants fall into one partition of `llm.tenant-events`.

    Open it with `load` for each changelog record in order, then `loaded`. Each call that decides applies its
    changes at once; `flush` gives what the changelog must hold of them, to be written in the transaction of
    the events. A call that raises has changed nothing.
    """

    def __init__(self, partition: int, clock: Clock, configs: ConfigLookup, seams: Seams) -> None:
        self.partition = partition
        self.state = State()
        self._clock = clock
        self._configs = configs
        self._seams = seams
        self._changelog = Changelog(self.state)
        self._timers = Timers()

    @property
    def accepted(self) -> int:
        """Requests accepted in this partition so far."""
        return self.state.progress.accepted

    @property
    def terminal(self) -> int:
        """Terminal results published in this partition so far."""
        return self.state.progress.terminal

    @property
    def open(self) -> int:
        """Requests without a terminal result."""
        return self.accepted - self.terminal

    @property
    def retention_ms(self) -> int:
        """For how long a request is remembered."""
        return self._configs.active()[1].defaults.dedupe_hours * HOUR_MS

    def dedupe_reach_ms(self, now: int) -> int:
        """How far back a repeated request is recognised: the retention, or less where the cap forgot some of it."""
        return min(self.retention_ms, now - self.state.dedupe.watermark)

    def load(self, key: bytes, value: bytes | None) -> None:
        """Take in one changelog record. Raises UnreadableState for a format that this version can't read."""
        for change in changelog.read(key, value):
            self.state.apply(change)

    def loaded(self) -> None:
        """The changelog has been read to its end: set the timers, and tell the budget what is held."""
        for key, packed in self.state.requests.items():
            self._timers.file(key, due_of(packed))
        self._changelog.bury_dropped()
        self._seams.budget.restore(self.partition, self._holds())

    def _holds(self) -> Iterator[Hold]:
        for record in map(unpack, self.state.requests.values()):
            yield from (hold_of(record, held) for held in record.reservations if not held.settled_unknown)

    def handle(self, record: Record, source: Source) -> list[Emit]:
        """Decide about one record of `llm.tenant-events`.

        Raises signals.Invalid where it belongs into the dead letters (too old, an unknown command), KeyError
        where its configuration isn't known here.
        """
        draft = self._draft(self._clock.now_ms())
        match record:
            case ClassifiedRequest():
                config = self._configs.get(record.config_version)
                Admission(draft, record, config, self._seams).handle()
            case Outcome():
                handle_outcome(draft, record, source, self._configs, self._seams)
            case Control():
                handle_control(draft, record, self._configs, self._seams)
            case _:
                assert_never(record)
        return self._commit(draft)

    def poison(self, record: Record | None, source: Source, error: str) -> list[Emit]:
        """End the request of a record that can't be handled; `error` goes to the audit trail only."""
        draft = self._draft(self._clock.now_ms())
        handle_poison(draft, record, source, error, self._configs, self._seams)
        return self._commit(draft)

    def next_due(self) -> int | None:
        """When `tick` has something to do next, milliseconds since the epoch; None where never."""
        oldest = self.state.dedupe.oldest()
        timers = self._timers.next_due()
        if oldest is None:
            return timers
        drop = self.state.dedupe.drop_at(oldest, self.retention_ms)
        return drop if timers is None else min(timers, drop)

    def tick(self, now_ms: int, most: int = 200) -> list[Emit]:
        """Act on at most `most` timers that are due; call again while `next_due` is past."""
        draft = self._draft(now_ms)
        for key in dict.fromkeys(self._timers.take(now_ms, most)):
            due.handle_due(draft, key)
        return self._commit(draft)

    def flush(self) -> list[tuple[bytes, bytes | None]]:
        """Changelog records of everything applied since the last flush, one a key."""
        self._timers.prune(self.state.requests, len(self.state.requests))
        return self._changelog.flush()

    def _draft(self, now: int) -> Draft:
        defaults = self._configs.active()[1].defaults
        retention_ms = defaults.dedupe_hours * HOUR_MS
        return Draft(self.state, self.partition, now, defaults.dedupe_max_entries, retention_ms)

    def _commit(self, draft: Draft) -> list[Emit]:
        """Apply a decision's changes, set the timers that they moved, forget what is too old or too much, and tell
        the budget."""
        for change in draft.finish():
            if isinstance(change, RequestPut):
                self._set_timer(change)
            self._changelog.apply(change)
        for dropped in due.segments_to_drop(self.state.dedupe, draft):
            self._changelog.apply(dropped)
        for settlement in draft.settlements:
            self._seams.budget.settle(settlement)
        for hold in draft.holds:
            self._seams.budget.hold(hold)
        return draft.emits

    def _set_timer(self, change: RequestPut) -> None:
        before = self.state.requests.get(change.key)
        moment = due_of(change.packed)
        if before is None or due_of(before) != moment:
            self._timers.file(change.key, moment)
