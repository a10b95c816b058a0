"""What every worker needs before it works: a codec whose schemas are known, and the configuration."""

import asyncio
import logging
from dataclasses import dataclass

import httpx

from schemas.codec import Codec
from schemas.registry import Registry, RegistryUnreachable, SchemaStore
from streams import metrics
from streams.config_watch import ConfigWatcher
from streams.faust_adapter import crash
from streams.settings import Settings

log = logging.getLogger(__name__)
_REGISTRY_TIMEOUT_S = 5.0
_RETRY_S = 1.0


@dataclass
class Parts:
    """The shared parts of a worker; `close` them at its end."""

    codec: Codec
    configs: ConfigWatcher
    http: httpx.AsyncClient

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self.configs.stop()
        await self.http.aclose()


async def make_codec(settings: Settings, http: httpx.AsyncClient) -> Codec:
    """A codec that knows every subject's id; waits while the registry can't be reached.

    Raises LookupError, which names the subjects, when the registry answers but lacks our schemas.
    """
    registry = Registry(settings.registry_url, http) if settings.registry_url else None
    store = SchemaStore(registry)
    while registry is not None:
        try:
            await store.lookup_all()
            break
        except RegistryUnreachable as error:
            log.warning("%s; trying again", error)
            metrics.REGISTRY_WAITS.inc()
            await asyncio.sleep(_RETRY_S)
    return Codec(store, on_wait=metrics.REGISTRY_WAITS.inc)


async def make_parts(settings: Settings) -> Parts:
    """Codec and configuration, both read once and followed. Raises LookupError or NoConfiguration."""
    http = httpx.AsyncClient(timeout=_REGISTRY_TIMEOUT_S)
    codec = await make_codec(settings, http)
    configs = ConfigWatcher(settings.brokers, crash)
    await configs.start()
    return Parts(codec, configs, http)
