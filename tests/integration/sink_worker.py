"""A sink worker as a process of its own: `python -m tests.integration.sink_worker PREFIX`, settings by environment."""

import asyncio
import logging
import signal
import sys

from schemas import names
from schemas.codec import Codec
from schemas.registry import SchemaStore
from sinks.rows import EVENT_OF_TOPIC
from streams.services.sink import SinkService
from streams.settings import get_settings


async def main(prefix: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    events = {prefix + topic: event for topic, event in EVENT_OF_TOPIC.items()}
    codec = Codec(SchemaStore(None))
    await SinkService(get_settings(), codec, events, prefix + names.DEAD_LETTERS).run(stop)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    asyncio.run(main(sys.argv[1]))
