"""Timers that are due: expire what has no end by its deadline and grace, forget what was never heard of."""

from typing import Final

from processors.route.changes import Dropped
from processors.route.dedupe import Dedupe
from processors.route.draft import Draft
from processors.route.finalise import finalise
from processors.route.open_request import FINAL, due_of, unpack
from processors.route.settle import settle_unheard

NEVER_HEARD: Final = "never_heard_of"


def handle_due(draft: Draft, key: bytes) -> None:
    """Act on the timer of a request; a stale timer does nothing."""
    packed = draft.state.requests.get(key)
    if packed is None or due_of(packed) > draft.now:
        return
    record = unpack(packed)
    if record.status != FINAL:
        finalise(
            draft,
            key,
            record,
            "expired",
            error_class="deadline_exceeded",
            message="no outcome came by the deadline and its grace",
        )
        return
    for held in record.reservations:
        if not held.settled_unknown:
            settle_unheard(draft, record, held, NEVER_HEARD)
    record.reservations = []
    draft.keep(key, record)


def segments_to_drop(dedupe: Dedupe, draft: Draft) -> list[Dropped]:
    """The dedupe segments that are too old, and the oldest ones while there are more entries than the cap."""
    if not dedupe.must_drop(draft.now, draft.retention_ms, draft.cap):
        return []
    doomed = {s.id: s for s in [*dedupe.aged(draft.now, draft.retention_ms), *dedupe.overflowing(draft.cap)]}
    return [Dropped(i, s.newest + 1 if s.newest else 0) for i, s in sorted(doomed.items())]
