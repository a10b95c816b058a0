"""What the journal, read on, says of an item that waits for its earlier owner."""

from typing import Any

import pytest

from schemas.records import Attempt
from streams.services.call.item import Item
from streams.services.call.opening import Opening
from streams.services.call.takeover import Decision, Evidence, Skip
from tests.fakes.call_runner import RunnerBench


def entry(phase: str, attempt_id: str) -> Attempt:
    return Attempt(
        phase=phase, attempt_id=attempt_id, request_id="r", tenant="t", attempt=1, try_=1, model="m",
        call_topic="c", call_partition=0, call_offset=0, at=0, must_end_by=10**15, worker="other",
    )  # fmt: skip


async def test_records_of_another_attempt_resolve_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = RunnerBench(monkeypatch)
    resolved: list[tuple[Item, Decision]] = []
    nothing: Any = None
    opening = Opening(
        nothing, nothing, [bench.owned], lambda: 0, nothing, lambda item, what: resolved.append((item, what))
    )
    assert bench.owned.mark is not None
    opening._marks[bench.owned.tp] = bench.owned.mark
    item = bench.owned.waiting[0] = bench.item(0)
    evidence = bench.owned.evidence[0] = Evidence()
    for phase in ("started", "handed_over"):
        evidence.apply(entry(phase, "a"))
    opening._apply(bench.owned, 9, entry("done", "of-another-task"))
    assert resolved == [] and bench.owned.waiting == {0: item}
    opening._apply(bench.owned, 9, entry("done", "a"))
    assert resolved == [(item, Skip())]
