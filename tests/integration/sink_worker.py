"""A sink worker as a process of its own: `python -m tests.integration.sink_worker PREFIX`, settings by environment.

With SLUICE_WEB_PORT it serves its metrics, with SLUICE_REGISTRY_URL it reads schemas from there.
"""

import asyncio
import logging
import signal
import sys

import httpx

from schemas import names
from schemas.codec import Codec
from schemas.registry import TOPIC_RECORDS, Registry, SchemaStore
from sinks.rows import EVENT_OF_TOPIC
from streams.health import HealthServer
from streams.services.sink import SinkService
from streams.settings import get_settings


async def main(prefix: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    events = {prefix + topic: event for topic, event in EVENT_OF_TOPIC.items()}
    settings = get_settings()
    async with httpx.AsyncClient() as http:
        registry = Registry(settings.registry_url, http) if settings.registry_url else None
        codec = Codec(SchemaStore(registry))
        if registry is not None:
            ids = await codec.store.register_all()
            # The test's topics have names of their own: what is written to them is found by its record's name.
            codec.store.subject_ids.update({n: ids[f"{topic}-value"] for topic, n in TOPIC_RECORDS.items()})
        service = SinkService(settings, codec, events, prefix + names.DEAD_LETTERS)
        health = HealthServer("127.0.0.1", settings.web_port, service.ready)
        await health.start()
        await service.run(stop)
        await health.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    asyncio.run(main(sys.argv[1]))
