"""A worker for the outbox's fault tests: counts each id, writes it to the output, keeps the count as state.

    python -m tests.chaos.outbox_worker PREFIX [--isolation LEVEL] [--transaction-timeout-ms N]

Topics PREFIX.in, PREFIX.out, PREFIX.state and PREFIX.dead have the same partition count. A record whose value
starts with b"poison" makes the machine fail, each time.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from streams import faust_adapter
from streams.outbox.contract import Inbound, Outbound
from streams.outbox.kafka import KafkaPartitionBroker, OutboxTopics
from streams.outbox.outbox import Outbox
from streams.outbox.reading import inbound_of
from streams.settings import get_settings


class Counting:
    """Counts how often each key was seen."""

    def __init__(self, prefix: str, partition: int) -> None:
        self._prefix, self._partition = prefix, partition
        self._counts: dict[bytes, int] = {}
        self._changed: dict[bytes, None] = {}

    def load(self, key: bytes, value: bytes | None) -> None:
        self._counts[key] = int(value or b"0")

    def loaded(self) -> None:
        pass

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        pass

    def handle(self, inbound: Inbound) -> list[Outbound]:
        if (inbound.value or b"").startswith(b"poison"):
            raise RuntimeError("this record can't be processed")
        key = inbound.key or b""
        self._counts[key] = self._counts.get(key, 0) + 1
        self._changed[key] = None
        return [Outbound(f"{self._prefix}.out", key, inbound.value, partition=self._partition)]

    def flush(self) -> list[tuple[bytes, bytes | None]]:
        changes: list[tuple[bytes, bytes | None]] = [(k, b"%d" % self._counts[k]) for k in self._changed]
        self._changed = {}
        return changes

    def next_due(self) -> int | None:
        return None

    def tick(self, now: int) -> list[Outbound]:
        return []

    def poison(self, inbound: Inbound, error: Exception) -> list[Outbound]:
        return [Outbound(f"{self._prefix}.dead", inbound.key, inbound.value, partition=self._partition)]


class Stage:
    """Opens and closes the outbox as partitions come and go."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def on_assigned(self, parts: set[tuple[str, int]]) -> None:
        self._outbox.open(partition for _, partition in parts)

    async def on_revoked(self) -> None:
        await self._outbox.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("--isolation", default="read_committed")
    parser.add_argument("--transaction-timeout-ms", type=int, default=10_000)
    args = parser.parse_args()
    settings = get_settings()
    source = f"{args.prefix}.in"
    app = faust_adapter.make_app(args.prefix, settings, isolation_level=args.isolation)
    topics = OutboxTopics(
        brokers=settings.brokers,
        app_id=args.prefix,
        group_id=str(app.conf.id),
        source=source,
        state=f"{args.prefix}.state",
        transaction_timeout_ms=args.transaction_timeout_ms,
        isolation_level=args.isolation,
    )
    pause, resume = faust_adapter.pauser(app, source)
    outbox = Outbox(
        source=source,
        brokers=lambda p: KafkaPartitionBroker(topics, p),
        machines=lambda p: Counting(args.prefix, p),
        now=lambda: int(time.time() * 1000),
        crash=faust_adapter.crash,
        still_owner=faust_adapter.membership_proof(app, source),
        pause=pause,
        resume=resume,
    )
    faust_adapter.attach(app, Stage(outbox))

    @app.agent(faust_adapter.raw_topic(app, source))
    async def count(stream: Any) -> None:
        async for event in stream.noack().events():
            if faust_adapter.is_current(app, event.message):
                outbox.put(inbound_of(event.message))

    faust_adapter.run(app)


if __name__ == "__main__":
    main()
