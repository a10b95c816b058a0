"""The baseline of the pipeline's benchmark: one process that consumes, calls and produces, and promises nothing.

    python -m tests.benchmarks.bare_loop BROKERS IN_TOPIC OUT_TOPIC PROVIDER_URL CONCURRENCY

The same HTTP client, streamed replies and sizes as the call service, produced with acks=all; no journal, no routing,
no deduplication, no usage, no ClickHouse. Runs until SIGTERM.
"""

import asyncio
import signal
import sys

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from processors.providers.sessions import Sessions
from streams.services.call.service import allow_connections


async def main(brokers: str, source: str, target: str, url: str, concurrency: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(source, bootstrap_servers=brokers, auto_offset_reset="earliest", group_id=f"g-{source}")
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", linger_ms=5)
    await consumer.start()
    await producer.start()
    free = asyncio.Semaphore(concurrency)
    running: set[asyncio.Task[None]] = set()

    async with Sessions.make() as sessions:

        async def one(key: bytes, prompt: bytes) -> None:
            body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt.decode()}]}
            text: list[str] = []
            try:
                async with sessions.kept.post(f"{url}/chat/completions", data=orjson.dumps(body)) as answer:
                    async for line in answer.content:
                        if line.startswith(b"data: {"):
                            choices = orjson.loads(line[6:])["choices"]
                            text += [c["delta"].get("content") or "" for c in choices]
                await producer.send_and_wait(target, "".join(text).encode(), key=key)
            finally:
                free.release()

        while not stop.is_set():
            for batch in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
                for message in batch:
                    await free.acquire()
                    task = asyncio.create_task(one(message.key, message.value))
                    running.add(task)
                    task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running, timeout=10)
    await producer.stop()
    await consumer.stop()


if __name__ == "__main__":
    allow_connections()
    brokers, source, target, url, concurrency = sys.argv[1:]
    uvloop.run(main(brokers, source, target, url, int(concurrency)))
