"""What the doctor makes of a sink worker's metrics."""

from prometheus_client import generate_latest

from sinks.patience import Patience
from sinks.store import Unavailable
from streams import metrics
from streams.cli import doctor
from streams.cli.sink_health import SinkHealth, read
from streams.services.sink import SinkMetrics


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


def test_the_sink_is_among_the_checks() -> None:
    assert "sink" in doctor.CHECKS
