"""Runs one stage in this process: signals, health server, and the stage itself."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import uvloop

from processors.providers.redact import RedactingFormatter
from streams import (
    faust_adapter,
    header_names,  # noqa: F401  (makes every header name readable)
    metrics,
)
from streams.health import HealthServer
from streams.settings import Settings, get_settings
from streams.stage import Stage
from streams.waiting import unless
from streams.wiring import Parts, make_parts

log = logging.getLogger(__name__)
FAUST_STAGES: Final = ("classify", "route")
SERVICES: Final = ("call", "sink", "relay")
_LAG_GAUGES: Final = {"classify": metrics.CLASSIFY_LAG, "route": metrics.ROUTE_LAG}


class Misconfigured(Exception):
    """The worker can't start until something outside is put right; the message says what."""


def run_worker(stage: str) -> None:
    """Run a stage until SIGTERM or SIGINT. Raises ValueError for a stage that doesn't exist."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("aiokafka", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    settings = get_settings()
    if stage in FAUST_STAGES:
        _run_faust(stage, settings)
    elif stage in SERVICES:
        uvloop.run(_run_service(stage, settings))
    else:
        raise ValueError(f"no stage {stage!r}: use one of {', '.join(FAUST_STAGES + SERVICES)}")


async def _build(stage: str, settings: Settings, parts: Parts) -> Stage:
    # Imported here: a worker loads only the libraries of its own stage.
    if stage == "classify":
        from streams.agents import classify

        return await classify.build(settings, parts)
    from streams.agents import route

    return await route.build(settings, parts)


@dataclass
class _Hooks:
    """The stage's hooks, with what the worker itself started closed at the end."""

    stage: Stage

    async def on_assigned(self, parts: set[tuple[str, int]]) -> None:
        await self.stage.on_assigned(parts)

    async def on_revoked(self) -> None:
        await self.stage.revoke()


def _run_faust(name: str, settings: Settings) -> None:
    # Faust's consumer has a thread of its own: at Python's 5 ms each answer of the broker waits so long for the other.
    sys.setswitchinterval(0.0005)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Schemas and configuration are there before the worker joins its group: a join must not wait for them.
    parts = loop.run_until_complete(make_parts(settings))
    stage = loop.run_until_complete(_build(name, settings, parts))
    health = HealthServer(
        settings.web_host, settings.web_port, _ready(stage), lambda: _refresh(name, stage, parts)
    )
    loop.run_until_complete(health.start())
    faust_adapter.attach(stage.app, _Hooks(stage))
    beside = [loop.create_task(work) for work in (stage.heal(settings.brokers), stage.follow())]
    for task in beside:
        task.add_done_callback(faust_adapter.crash_if_failed)

    @stage.app.on_before_shutdown.connect(weak=False)
    async def _stop(sender: object, **kwargs: object) -> None:
        for task in beside:
            task.cancel()
        await stage.on_stop()
        await health.stop()
        await parts.close()

    faust_adapter.run(stage.app, loop)


def _ready(stage: Stage) -> Callable[[], bool]:
    return lambda: bool(faust_adapter.has_joined(stage.app) and stage.ready())


def _refresh(name: str, stage: Stage, parts: Parts) -> None:
    stage.refresh()
    _tell_config(parts)
    _LAG_GAUGES[name].clear()
    for (topic, partition), lag in stage.lag().items():
        _LAG_GAUGES[name].labels(f"{topic}-{partition}").set(lag)


def _tell_config(parts: Parts) -> None:
    metrics.CONFIG_INFO.clear()
    metrics.CONFIG_INFO.labels(parts.configs.active()[0]).set(1)


Service = Callable[[asyncio.Event], Awaitable[None]]


async def _run_service(name: str, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parts = await unless(make_parts(settings), stop)
    if parts is None:
        return
    run, ready = _service(name, settings, parts)
    health = HealthServer(settings.web_host, settings.web_port, ready, lambda: _tell_config(parts))
    await health.start()
    log.info("%s: started", name)
    try:
        await run(stop)
    finally:
        await health.stop()
        await parts.close()
    log.info("%s: stopped", name)


def _service(name: str, settings: Settings, parts: Parts) -> tuple[Service, Callable[[], bool]]:
    if name == "call":
        from streams.services.call.service import CallService

        call = CallService(settings, parts.codec, parts.configs)
        return call.run, call.ready
    if name == "sink":
        from streams.services.reconcile import terms_of
        from streams.services.sink import SinkService

        sink = SinkService(settings, parts.codec, terms=lambda: terms_of(parts.configs.active()[1]))
        return sink.run, sink.ready
    from streams.services.relay import make_relay

    relay = make_relay(settings, parts.codec)
    return relay.run, relay.ready
