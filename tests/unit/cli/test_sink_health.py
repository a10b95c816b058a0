"""What the doctor makes of a sink worker's metrics."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest

from sinks.patience import Patience
from sinks.store import Unavailable
from streams import metrics, supervisor
from streams.cli import doctor
from streams.cli.sink_health import SinkHealth, read
from streams.services.sink import SinkMetrics
from streams.supervisor import SupervisorState, WorkerState

SINK = WorkerState(stage="sink", pid=1, port=4711)


async def no_sleep(seconds: float) -> None: ...


async def test_what_the_sink_tries_in_vain_is_told_with_the_error_and_no_longer_than_it_fails() -> None:
    metrics.SINK_LAG.clear()
    told = SinkMetrics()
    told.lag("llm.usage", 70)
    patience = Patience(told, sleep=no_sleep)
    for code in (None, 243, 252):
        await patience.wait(Unavailable("no", code), "insert into usage")
    await patience.wait(Unavailable("away"), "read the ledger")
    health = read(generate_latest().decode())
    assert health == SinkHealth(True, (("insert into usage", "252", 3), ("read the ledger", "none", 1)), 70)
    assert str(health) == (
        "waits for ClickHouse: insert into usage failed 3 times in a row (its error 252); "
        "read the ledger failed 1 times in a row (no answer); 70 events wait"
    )
    patience.over("insert into usage")
    assert read(generate_latest().decode()) == SinkHealth(True, (("read the ledger", "none", 1),), 70)
    patience.over("read the ledger")
    assert read(generate_latest().decode()) == SinkHealth(False, (), 70)


def test_topics_that_it_leaves_alone_are_named() -> None:
    metrics.SINK_RECREATED.clear()
    told = SinkMetrics()
    told.recreated("llm.usage", 2)
    told.recreated("llm.audit", 0)
    health = read(generate_latest().decode())
    told.recreated("llm.usage", 0)
    assert health.recreated == ("llm.usage",)
    assert str(health).startswith("leaves llm.usage alone: Kafka has less than was read; ")
    assert not read(generate_latest().decode()).recreated


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (SinkHealth(True, (("insert into usage", "243", 3),), 9), ("its error 243", "SluiceSinkPaused")),
        (SinkHealth(False, (), 9, ("llm.usage",)), ("leaves llm.usage alone", "SluiceSinkRecreated")),
    ],
    ids=["paused", "recreated"],
)
async def test_the_doctor_finds_a_fault_and_says_where_to_read_on(
    health: SinkHealth, words: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervisor, "load_state", lambda _: SupervisorState(workers=[SINK]))
    monkeypatch.setattr(doctor, "sink_health", answering(health))
    place: Any = SimpleNamespace(home=tmp_path)
    found = await doctor._run("sink", doctor.CHECKS["sink"], place)
    assert not found.good and words[0] in found.what and words[1] in (found.fix or "")


async def test_the_doctor_has_nothing_against_a_sink_that_writes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervisor, "load_state", lambda _: SupervisorState(workers=[SINK]))
    monkeypatch.setattr(doctor, "sink_health", answering(SinkHealth(False, (), 9)))
    place: Any = SimpleNamespace(home=tmp_path)
    found = await doctor._run("sink", doctor.CHECKS["sink"], place)
    assert (found.good, found.what) == (True, "writes; 9 events aren't in ClickHouse yet")


def answering(health: SinkHealth) -> Any:
    async def answer(port: int) -> SinkHealth:
        assert port == SINK.port
        return health

    return answer
