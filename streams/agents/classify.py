"""The classify agent: `llm.requests` and `llm.control` in, `llm.tenant-events` out. Stateless."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer

from processors.clock import SystemClock
from schemas.names import CONTROL, REQUESTS
from streams import faust_adapter
from streams.classifier import Classifier, ClassifyPipeline
from streams.crash import crash_point
from streams.faust_adapter import StageApp
from streams.outbox.reading import inbound_of
from streams.settings import Settings
from streams.stage import Feeder, Stage, partition_count
from streams.wiring import Parts


async def build(settings: Settings, parts: Parts) -> Stage:
    """The stage's app with its agent."""
    app: StageApp = faust_adapter.make_app("classify", settings)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.brokers, enable_idempotence=True, acks="all", linger_ms=2,
        max_request_size=6 << 20, max_batch_size=1 << 20,
    )  # fmt: skip
    await producer.start()
    count = await partition_count(producer)
    pipeline = ClassifyPipeline(
        Classifier(parts.codec, parts.configs, SystemClock(), count),
        producer,
        brokers=settings.brokers,
        group=str(app.conf.id),
    )
    feeder = Feeder(app)
    running = asyncio.create_task(pipeline.run(feeder.resume_if_low), name="classify")
    running.add_done_callback(faust_adapter.crash_if_failed)

    @app.agent(faust_adapter.raw_topic(app, REQUESTS, CONTROL))
    async def classify(stream: Any) -> None:
        async for event in stream.noack().events():
            if faust_adapter.is_current(app, event.message):
                feeder.pause_if_full(event.message, pipeline.put(inbound_of(event.message)))

    async def stop() -> None:
        running.cancel()
        await producer.stop()

    async def revoked() -> dict[tuple[str, int], int]:
        feeder.forget()
        return await pipeline.close()

    return Stage(
        app, put=pipeline.put, idle=pipeline.idle, on_assigned=pipeline.open, on_revoked=revoked, on_stop=stop,
        ready=pipeline.is_open, marks=lambda: pipeline.marks,
        after_commit=lambda: crash_point("classify.after_commit"),
    )  # fmt: skip
