"""The route agent: the single writer of every tenant's requests, on the transactional outbox."""

from typing import Any

from processors.clock import SystemClock
from processors.route.seams import Seams
from schemas.names import ROUTE_STATE, TENANT_EVENTS
from streams import faust_adapter
from streams.outbox.kafka import KafkaPartitionBroker, OutboxTopics
from streams.outbox.outbox import Outbox
from streams.outbox.reading import inbound_of
from streams.route_health import PauseWatch
from streams.route_machine import RouteBinding
from streams.route_metrics import RouteObserver
from streams.settings import Settings
from streams.stage import Stage
from streams.wiring import Parts


async def build(settings: Settings, parts: Parts) -> Stage:
    """The stage's app with its agent."""
    app = faust_adapter.make_app("route", settings)
    clock, codec = SystemClock(), parts.codec
    topics = OutboxTopics(settings.brokers, settings.app_id, str(app.conf.id), TENANT_EVENTS, ROUTE_STATE)
    pauses = PauseWatch(settings.brokers, codec, parts.configs)
    await pauses.start()
    seams = Seams(encode=lambda outcome: codec.encode(outcome, TENANT_EVENTS), health=pauses.health)
    observer = RouteObserver()
    pause, resume = faust_adapter.pauser(app, TENANT_EVENTS)
    outbox = Outbox(
        source=TENANT_EVENTS,
        brokers=lambda partition: KafkaPartitionBroker(topics, partition),
        machines=lambda partition: observer.watch(
            RouteBinding(partition, codec, parts.configs, clock, seams)
        ),
        now=clock.now_ms,
        crash=faust_adapter.crash,
        still_owner=faust_adapter.membership_proof(app, TENANT_EVENTS),
        pause=pause,
        resume=resume,
        observer=observer,
    )

    @app.agent(faust_adapter.raw_topic(app, TENANT_EVENTS))
    async def route(stream: Any) -> None:
        async for event in stream.noack().events():
            if faust_adapter.is_current(app, event.message):
                outbox.put(inbound_of(event.message))

    async def opened(assigned: set[tuple[str, int]]) -> None:
        outbox.open(partition for _, partition in assigned)

    return Stage(
        app, put=outbox.put, idle=outbox.idle, on_assigned=opened, on_revoked=outbox.close,
        on_stop=pauses.stop, ready=outbox.all_running, marks=outbox.marks, refresh=observer.refresh,
    )  # fmt: skip
