"""The call service as a process of its own, with a configuration from a file instead of llm.config.

    python -m tests.fakes.call_worker CONFIG.json     (settings from SLUICE_*)

The file holds `{"version": ..., "config": {...}}`.
It prints `ready` once it has joined its groups and opened what it was given, and again after each rebalance.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import uvloop

from schemas.codec import Codec
from schemas.config import Config
from schemas.registry import SchemaStore
from streams.services.call.service import CallService
from streams.settings import get_settings


class StaticConfig:
    """One configuration, always active, known by the version that tasks name."""

    def __init__(self, version: str, config: Config) -> None:
        self._version, self._config = version, config

    def active(self) -> tuple[str, Config]:
        return self._version, self._config

    def get(self, version: str) -> Config:
        if version != self._version:
            raise KeyError(version)
        return self._config

    async def fetch(self, version: str) -> Config:
        return self.get(version)

    def add_listener(self, listener: Callable[[str, Config], None]) -> None:
        """It never changes."""


async def _tell(service: CallService) -> None:
    told = False
    while True:
        ready = service.ready()
        if ready and not told:
            print("ready", flush=True)
        told = ready
        await asyncio.sleep(0.05)


async def main(given: dict[str, Any]) -> None:
    configs = StaticConfig(given["version"], Config.model_validate(given["config"]))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    service = CallService(get_settings(), Codec(SchemaStore()), configs)
    telling = asyncio.create_task(_tell(service))
    await service.run(stop)
    telling.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    uvloop.run(main(orjson.loads(Path(sys.argv[1]).read_bytes())))
