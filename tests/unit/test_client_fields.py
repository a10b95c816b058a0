"""The client takes every field of a request, and its package offers what its users name."""

import subprocess
import sys
from typing import get_type_hints

import sluice
from schemas.records import RequestEvent
from streams.client_fields import RequestFields


def test_submit_takes_every_field_of_a_request() -> None:
    assert get_type_hints(RequestFields) == get_type_hints(RequestEvent)


def test_everything_offered_is_there() -> None:
    assert [name for name in sluice.__all__ if not hasattr(sluice, name)] == []


def test_the_client_needs_nothing_of_the_workers() -> None:
    """An upstream service that imports it must not pay for Faust or ClickHouse."""
    program = (
        "import sys, sluice; print([m for m in ('faust', 'clickhouse_connect', 'chdb') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.strip() == "[]"
