"""The low-water mark against a plain model, and against what a new owner would do."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.records import Attempt
from streams.services.call.takeover import Call, Evidence, Skip, Unknown, decide
from streams.services.call.watermark import Watermark, decode_note, encode_note


def record(phase: str, offset: int) -> Attempt:
    return Attempt(
        phase=phase, attempt_id="a", request_id="r", tenant="t", attempt=1, try_=1, model="m", call_topic="c",
        call_partition=0, call_offset=offset, at=0, must_end_by=10, worker="w",
    )  # fmt: skip


class Owner(RuleBasedStateMachine):
    """One owner of a call partition that may crash at any moment; the journal is a list that survives it.

    Records of other partitions share the journal. After a crash a new owner starts from the committed note alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[Attempt | None] = []
        self.next_offset = 0
        self.begin(0)
        self.finished: set[int] = set()
        self.started: set[int] = set()

    def begin(self, position: int) -> None:
        self.mark = Watermark(position)
        self.position = position
        self.queued: list[int] = []
        self.running: list[int] = []
        self.open: set[int] = set()
        self.committed = (position, self.mark.replay_from(len(self.journal)))

    @rule(gap=st.integers(0, 2))
    def deliver(self, gap: int) -> None:
        offset = max(self.position, self.next_offset) + gap
        self.next_offset = offset + 1
        self.take(offset, None)

    def take(self, offset: int, evidence: Evidence | None) -> None:
        self.mark.add(offset)
        self.position = offset + 1
        self.open.add(offset)
        decision = decide(evidence, 0)
        if isinstance(decision, Call):
            assert offset not in self.started, "a started call is never called again"
            self.queued.append(offset)
        elif isinstance(decision, Skip):
            assert offset in self.finished
            self.finish(offset)
        else:
            assert isinstance(decision, Unknown) and offset in self.started
            self.journal.append(record("done", offset))
            self.finish(offset)

    def finish(self, offset: int) -> None:
        self.mark.done(offset)
        self.open.discard(offset)
        self.finished.add(offset)

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.queued))
        self.queued.remove(offset)
        self.mark.journaled(offset, len(self.journal))
        self.journal.append(record("started", offset))
        self.started.add(offset)
        self.running.append(offset)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.running))
        self.running.remove(offset)
        self.journal.append(record("done", offset))
        self.finish(offset)

    @rule()
    def others_write(self) -> None:
        self.journal.append(None)

    @rule()
    def commit(self) -> None:
        note = encode_note(self.mark.replay_from(len(self.journal)))
        self.committed = (self.mark.mark, decode_note(note) or 0)

    @rule()
    def crash(self) -> None:
        """A new owner: replay from the note, then read the call partition from the mark."""
        position, replay = self.committed
        evidence: dict[int, Evidence] = {}
        log = list(self.journal)
        delivered = sorted({o for o in self.finished | self.started | self.open if o >= position})
        self.begin(position)
        for at, entry in enumerate(log):
            if entry is not None and at >= replay and entry.call_offset >= position:
                self.mark.journaled(entry.call_offset, at)
                evidence.setdefault(entry.call_offset, Evidence()).apply(entry)
        for offset in delivered:
            self.take(offset, evidence.get(offset))
        self.committed = (position, replay)

    @invariant()
    def mark_is_contiguous(self) -> None:
        mark = self.mark.mark
        assert mark == min(self.open, default=self.position)
        assert self.mark.unfinished == len(self.open)
        assert self.mark.above == self.position - mark

    @invariant()
    def replay_covers_what_lies_above(self) -> None:
        replay, mark = self.mark.replay_from(len(self.journal)), self.mark.mark
        hidden = [e.call_offset for e in self.journal[:replay] if e is not None and e.call_offset >= mark]
        told = {e.call_offset for e in self.journal[replay:] if e is not None}
        assert all(offset in told for offset in hidden), (
            "each offset above the mark is told from the replay on"
        )


TestOwner = Owner.TestCase


@given(st.permutations(range(12)))
def test_any_order_of_ends_leaves_nothing_open(order: list[int]) -> None:
    mark = Watermark(100)
    for offset in range(12):
        mark.add(100 + offset)
    for offset in order:
        mark.done(100 + offset)
        mark.done(100 + offset)
    assert (mark.mark, mark.above, mark.unfinished) == (112, 0, 0)


@given(st.text())
def test_any_metadata_is_read_or_refused(text: str) -> None:
    note = decode_note(text)
    assert note is None or note >= 0


@given(st.integers(0, 2**62))
def test_notes_round_trip(offset: int) -> None:
    assert decode_note(encode_note(offset)) == offset
    assert decode_note(None) is None
