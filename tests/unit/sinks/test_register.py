"""What a worker reads of the ledger, and what it makes of a ledger that has lost versions."""

import pytest

from sinks.ledger import Intent, Range, State
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.register import LedgerWentBack, Register
from tests.fakes.sink_store import Contents, Fault, SinkStore


class Asked:
    def __init__(self) -> None:
        self.what: list[str] = []

    async def __call__(self, what: str) -> Fault:
        self.what.append(what)
        return "none"


def register(contents: Contents, asked: Asked | None = None) -> Register:
    return Register(SinkStore(contents, asked or Asked()), Patience(NoMetrics()), "w", lambda: 0.0)


def advanced(state: State) -> State:
    tip = state.tip(("t", 0))
    start = tip.end if tip else 0
    made = Intent(id=str(start), ranges=(Range("t", 0, start, start + 1),), mapping=1)
    return state.intend(made).finish(made.id)


async def test_however_far_others_have_gone_a_worker_reads_two_versions_to_catch_up() -> None:
    contents, asked = Contents(), Asked()
    slow, others = register(contents, asked), register(contents)
    await slow.refresh()
    for _ in range(50):
        await others.advance(advanced)
    asked.what.clear()
    await slow.advance(advanced)
    assert asked.what == ["append", "latest", "version", "append", "latest"]
    assert slow.version.sequence == 51 and slow.state.tips == (Range("t", 0, 50, 51),)


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_ledger_that_went_back_ends_the_worker(lost: int) -> None:
    contents = Contents()
    worker = register(contents)
    for _ in range(3):
        await worker.advance(advanced)
    del contents.ledger[-lost:]
    with pytest.raises(LedgerWentBack, match="restored or has lost writes"):
        await worker.refresh()
    assert worker.version.sequence == 3


async def test_a_version_that_was_lost_and_written_anew_by_another_ends_the_worker() -> None:
    contents = Contents()
    worker = register(contents)
    await worker.advance(advanced)
    contents.ledger.clear()
    contents.tokens.clear()
    await register(contents).advance(advanced)
    with pytest.raises(LedgerWentBack):
        await worker.refresh()
