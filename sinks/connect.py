"""Kafka's clients of the sink: that which reads for the tables, and those that read again what has been read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer

from sinks.chunks import Limits


@dataclass(frozen=True)
class Options:
    """How the consumer reads. `drain_s` bounds how long the last chunk may take when it stops."""

    brokers: str
    group: str
    topics: Sequence[str]
    session_timeout_ms: int = 8_000
    drain_s: float = 30.0
    limits: Limits = field(default_factory=Limits)


def connect(options: Options) -> AIOKafkaConsumer:
    """The client, not started."""
    return AIOKafkaConsumer(
        bootstrap_servers=options.brokers,
        group_id=options.group,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",  # a position is the ledger's word; what Kafka has deleted is an error
        session_timeout_ms=options.session_timeout_ms,
        heartbeat_interval_ms=options.session_timeout_ms // 4,
        metadata_max_age_ms=30_000,  # a topic that was made a moment ago may be missing at first
        max_poll_interval_ms=2**31 - 1,  # a store that is away is waited for, however long
        fetch_max_bytes=4 * 1024 * 1024,
        max_partition_fetch_bytes=1024 * 1024,
        fetch_max_wait_ms=200,
        fetch_min_bytes=256 * 1024,
    )


def connect_again(brokers: str, **fetching: Any) -> AIOKafkaConsumer:
    """A client without a group, not started, for positions that its caller seeks. `fetching`: its own settings."""
    return AIOKafkaConsumer(
        bootstrap_servers=brokers,
        group_id=None,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",  # what Kafka deletes meanwhile is a gap, never a silent jump
        **fetching,
    )
