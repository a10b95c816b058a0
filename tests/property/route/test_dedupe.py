"""The dedupe memory against a dict: whatever lies above the watermark is found, and the cap holds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.route.changelog import Changelog, read
from processors.route.changes import Remembered
from processors.route.dedupe import HOUR_MS
from processors.route.draft import Draft
from processors.route.due import segments_to_drop
from processors.route.fingerprints import fingerprint, halves
from processors.route.segment import Entry, Segment, SegmentId
from processors.route.state import State

T0 = 480_000 * HOUR_MS
RETENTION_MS = 24 * HOUR_MS
steps = st.lists(
    st.tuples(
        st.integers(0, 60),  # which fingerprint
        st.integers(0, 90 * 60_000),  # how much later, ms
        st.sampled_from([0, 0, 1000, HOUR_MS]),  # how far it lags behind, ms
        st.booleans(),  # flush after it
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(steps=steps, cap=st.sampled_from([4, 20, 1000]), originals=st.booleans())
def test_dedupe_memory(steps: list[tuple[int, int, int, bool]], cap: int, originals: bool) -> None:
    state, written = State(), []
    log = Changelog(state)
    model: dict[int, tuple[int, Entry]] = {}
    now = T0
    for which, later, lag, flushes in steps:
        now += later
        at = now - lag
        draft = Draft(state, 0, now, cap, RETENTION_MS)
        print_ = fingerprint("request", "t", str(which))
        found = state.dedupe.find(print_)
        if which in model and model[which][0] >= state.dedupe.watermark:
            assert found == model[which][1]
        if found is None and at >= state.dedupe.watermark:
            original = f"original-{which}" if originals else ""
            entry = Entry(*halves(print_), which, which + 1, original)
            draft.remember(entry, at, is_request=True)
            model[which] = at, entry
        for change in draft.finish():
            assert isinstance(change, Remembered)
            log.apply(change)
        for dropped in segments_to_drop(state.dedupe, draft):
            log.apply(dropped)
        assert state.dedupe.count <= cap or len(state.dedupe.segments) == 1
        if flushes:
            written += log.flush()
    written += log.flush()
    for records in (written, list(dict(written).items())):
        rebuilt = State()
        for key, value in records:
            for change in read(key, value):
                rebuilt.apply(change)
        Changelog(rebuilt).bury_dropped()
        assert rebuilt.snapshot() == state.snapshot()


@settings(max_examples=200)
@given(st.sets(st.integers(0, 2**128 - 1), max_size=300), st.integers(1, 8))
def test_segment_table_holds_every_fingerprint(numbers: set[int], stride: int) -> None:
    """Also those that collide in the table: many fingerprints share their low bits."""
    segment = Segment(SegmentId(0, 0))
    entries: dict[tuple[int, int], Entry] = {}
    for number in numbers - {0}:
        low = (number & 0xFFFF_FFFF_FFFF_FFFF) >> 8 * (stride - 1) << 8 * (stride - 1)
        entry = Entry(
            low, number >> 64, number & 0xFFFF_FFFF, number >> 96, str(number) if number % 2 else ""
        )
        if (low, entry.high) != (0, 0):
            entries[low, entry.high] = entry if segment.insert(entry) else entries[low, entry.high]
    assert segment.count == len(entries)
    assert sorted(segment.entries()) == sorted(entries.values())
    for (low, high), entry in entries.items():
        assert segment.entry(segment.find(low, high)) == entry
    assert segment.find(1, 2**64 - 1) == -1 or (1, 2**64 - 1) in entries
