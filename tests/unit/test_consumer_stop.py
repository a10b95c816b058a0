"""A consumer stops quietly, whatever its fetches are doing."""

import asyncio
import inspect
from typing import Any

from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import RequestTimedOutError

from streams import client_reader, config_watch, consumer_stop
from streams.cli import kafka
from streams.outbox import reading


class _Away:
    """A broker's client whose broker doesn't answer."""

    async def send(self, *_: Any) -> None:
        raise RequestTimedOutError


async def test_a_fetch_that_waits_to_try_again_ends_quietly() -> None:
    fetcher = Fetcher.__new__(Fetcher)
    fetcher._client, fetcher._retry_backoff = _Away(), 60
    fetcher._preferred_read_replica = {}

    class Request:
        topics = ()

    fetch = asyncio.ensure_future(fetcher._proc_fetch_request(None, 1, Request()))
    for _ in range(5):  # until it has failed and waits
        await asyncio.sleep(0)
    assert not fetch.done()
    fetch.cancel()
    assert await fetch is False


def test_every_process_that_reads_is_covered() -> None:
    for module in (client_reader, config_watch, kafka, reading):
        assert getattr(module, "consumer_stop", None) is consumer_stop, module.__name__
    assert "await x" in inspect.getsource(Fetcher.close), "aiokafka waits otherwise: is the mend still needed?"
