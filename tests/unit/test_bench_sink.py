"""The sink's benchmark counts what the sink makes: a request's events and rows, and how old they are when all is in."""

from collections import Counter

import pytest

from schemas.codec import Codec
from schemas.registry import SchemaStore
from sinks.chunks import Limits
from sinks.mapping import decoder
from sinks.rows import EVENT_OF_TOPIC, rows_of
from tests.benchmarks import bench_sink, sink_rig
from tests.unit.sinks.test_rows import AT


def test_a_request_has_as_many_events_and_rows_as_are_waited_for() -> None:
    codec = Codec(SchemaStore(None))
    decode, rows = decoder(codec, EVENT_OF_TOPIC), Counter[str]()
    made = list(sink_rig.requests(codec, 3, 10))
    for topic, value in made:
        at = AT._replace(topic=topic, value=value)
        rows.update(table for table, _ in rows_of(decode(at), at))
    assert len(made) == 10 * bench_sink.EVENTS
    assert set(rows) == set(sink_rig.TABLES) and rows.total() == 10 * bench_sink.ROWS


def test_large_results_fill_more_than_two_chunks() -> None:
    sizes = bench_sink.Sizes()
    assert sizes.large_mb << 20 > 2 * Limits().size, "what waits would fit in what may be read ahead"


@pytest.mark.parametrize("option", ["--requests", "--large-mb", "--cookbook-rows"])
def test_sizes_are_given_by_options(option: str) -> None:
    sizes = bench_sink.Sizes.of([option, "7"])
    assert getattr(sizes, option[2:].replace("-", "_")) == 7
