"""What a new owner does with each offset above the mark: a pure decision over the attempt journal.

journal says of the offset                              | decision
nothing, or only tries that were abandoned before a call | call
done                                                     | skip
started; every worker that runs it handed it over, and   |
  the time it must end by (plus a margin) is ahead       | wait until then for its done
  that time has passed                                   | unknown
started by a worker that did not hand it over            | unknown (it crashed, or lost the group)
"""

from dataclasses import dataclass, field
from typing import Final

from schemas.records import Attempt

# A call has ended by `must_end_by`; this is for its outcome and `done` to become durable, and for clocks.
MARGIN_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Call:
    """Not started: call it."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Done."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Its earlier owner finishes it: wait for `done` until `until_ms`, then it is unknown."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Started, and nobody will tell how it ended."""


Decision = Call | Skip | Wait | Unknown


@dataclass(slots=True)
class _Running:
    must_end_by: int
    handed_over: bool = False


@dataclass(slots=True)
class Evidence:
    """What the journal says of one offset, about the last attempt that it names there.

    Where a call topic was made anew, older records tell of attempts that its offsets held before.
    """

    attempt_id: str = ""
    tries: int = 0
    done: bool = False
    running: dict[str, _Running] = field(default_factory=dict)

    def apply(self, record: Attempt) -> None:
        """Take one record, in journal order. Raises ValueError for a phase this version doesn't know."""
        if record.attempt_id != self.attempt_id:
            self.attempt_id, self.tries, self.done, self.running = record.attempt_id, 0, False, {}
        match record.phase:
            case "started":
                self.tries = max(self.tries, record.try_)
                self.running[record.worker] = _Running(record.must_end_by)
            case "handed_over":
                seen = self.running.setdefault(record.worker, _Running(record.must_end_by))
                seen.handed_over = True
                seen.must_end_by = max(seen.must_end_by, record.must_end_by)
                self.tries = max(self.tries, record.try_)
            case "abandoned":
                self.running.pop(record.worker, None)
            case "done":
                self.done = True
            case phase:
                raise ValueError(f"the attempt journal has the phase {phase!r}: a later version wrote it")


def decide(evidence: Evidence | None, now_ms: int) -> Decision:
    """The cell of the table above."""
    if evidence is None:
        return Call()
    if evidence.done:
        return Skip()
    if not evidence.running:
        return Call()
    if not all(seen.handed_over for seen in evidence.running.values()):
        return Unknown()
    until = max(seen.must_end_by for seen in evidence.running.values()) + MARGIN_MS
    return Wait(until) if now_ms < until else Unknown()
