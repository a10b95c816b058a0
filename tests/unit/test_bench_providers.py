"""The benchmark of the providers' codecs measures, and its last line has the keys that are compared."""

import json

import pytest

from tests.benchmarks.bench_providers import main


def test_the_last_line_is_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--events", "40", "--repeats", "20"])
    *_, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)
    assert set(figures) == {"codec_p50_us", "sse_mb_per_s", "sse_events_per_s", "ratio_to_sdk"}
    assert all(value > 0 for value in figures.values())
