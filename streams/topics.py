"""The topics of Sluice: what they are, how the cluster differs from that, and making it so.

Workers never create topics. Partition counts are fixed once a topic is used: `apply` refuses to change them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from schemas import names
from schemas.config import Config

_COPIES: Final = 3
_TOPIC_CONFIG: Final = 1  # the source of a setting that was made for the topic itself
_HOUR: Final = 3_600_000
_MESSAGE_BYTES: Final = 6 << 20


class TopicsRefused(Exception):
    """A change that would break keys or lose data; the message says which and what to do instead."""


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be. `config` holds Kafka topic settings as text."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A difference between the cluster and a spec. `settings` maps a setting to (now, wanted)."""

    topic: str
    kind: Literal["create", "settings", "partitions"]
    partitions: tuple[int, int] | None = None
    settings: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.kind == "settings":
            parts = ", ".join(
                f"{k}: {now or 'default'} -> {wanted}" for k, (now, wanted) in self.settings.items()
            )
            return f"{self.topic}: {parts}"
        now, wanted = self.partitions or (0, 0)
        return f"{self.topic}: {self.kind} ({wanted} partitions{f', has {now}' if now else ''})"


def _settings(retention_ms: int, **more: str) -> dict[str, str]:
    base = {"max.message.bytes": str(_MESSAGE_BYTES), "retention.ms": str(retention_ms)}
    return base | {k.replace("_", "."): v for k, v in more.items()}


def _compacted(**more: str) -> dict[str, str]:
    base = {"max.message.bytes": str(_MESSAGE_BYTES), "cleanup.policy": "compact"}
    return base | {k.replace("_", "."): v for k, v in more.items()}


def specs(config: Config) -> list[TopicSpec]:
    """Every topic that this configuration needs, reply topics of tenants included."""
    partitions = config.topics.partitions
    longest = (config.limits.max_deadline_s + int(config.defaults.grace_s)) * 1000
    dedupe = config.defaults.dedupe_hours * _HOUR
    week = max(7 * 24 * _HOUR, 2 * longest)
    state = _compacted(segment_ms="600000", segment_bytes=str(64 << 20), min_cleanable_dirty_ratio="0.1")
    fixed = [
        # Older requests than the dedupe retention could not be told from duplicates: they must not be read again.
        TopicSpec(names.REQUESTS, partitions, _settings(dedupe, message_timestamp_type="LogAppendTime")),
        TopicSpec(names.TENANT_EVENTS, partitions, _settings(week)),
        TopicSpec(names.ATTEMPTS, partitions, _settings(week)),
        TopicSpec(names.RESULTS, partitions, _settings(week)),
        TopicSpec(names.USAGE, partitions, _settings(week)),
        TopicSpec(names.AUDIT, partitions, _settings(4 * week)),
        # Its table is partitioned by the record's time, which must not be the publisher's to choose.
        TopicSpec(names.FEEDBACK, partitions, _settings(week, message_timestamp_type="LogAppendTime")),
        TopicSpec(names.DEAD_LETTERS, partitions, _settings(4 * week)),
        # A cancel must be read by every worker before compaction may drop it for another of the same bucket.
        TopicSpec(names.CONTROL, 1, _compacted(min_compaction_lag_ms=str(24 * _HOUR))),
        # The sink must read each version, and each that was active, before compaction may drop it for the next.
        TopicSpec(names.CONFIG, 1, _compacted(min_compaction_lag_ms=str(week))),
        TopicSpec(names.ROUTE_STATE, partitions, state),
    ]
    calls = [
        TopicSpec(names.calls_topic(model, lane), 1, _settings(week))
        for model, spec in config.models.items()
        for lane in spec.lanes
    ]
    replies = sorted({topic for tenant in config.tenants.values() for topic in tenant.reply_topics})
    return fixed + calls + [TopicSpec(topic, partitions, _settings(week)) for topic in replies]


async def diff(brokers: str, wanted: Iterable[TopicSpec]) -> list[Change]:
    """How the cluster differs from `wanted`. Raises KafkaConnectionError when it can't be reached."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        return await _diff(admin, list(wanted))
    finally:
        await admin.close()


async def apply(brokers: str, wanted: Iterable[TopicSpec]) -> list[Change]:
    """Make the cluster as `wanted`; returns what was changed.

    Raises TopicsRefused, before anything is changed, where a topic in use has another partition count.
    """
    wanted = list(wanted)
    by_name = {spec.name: spec for spec in wanted}
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        changes = await _diff(admin, wanted)
        refused = [str(c) for c in changes if c.kind == "partitions"]
        if refused:
            raise TopicsRefused(
                "partition counts of topics in use can't change, because keys would move: "
                + "; ".join(refused)
                + ". Keep the count, or drain and reshard."
            )
        await _create(admin, [by_name[c.topic] for c in changes if c.kind == "create"])
        altered = {c.topic: by_name[c.topic] for c in changes if c.kind == "settings"}
        if altered:
            await _alter(admin, altered)
        return changes
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, missing: list[TopicSpec]) -> None:
    if not missing:
        return
    copies = min(_COPIES, len((await admin.describe_cluster())["brokers"]))
    # With Kafka's default of one in-sync copy an acknowledged record could be lost with a single broker.
    safe = {"min.insync.replicas": "2"} if copies >= _COPIES else {}
    made = [NewTopic(s.name, s.partitions, copies, topic_configs={**s.config, **safe}) for s in missing]
    answer = await admin.create_topics(made)
    for name, code, message in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another `apply` at the same time made it
            raise error(f"topic {name}: {message}")
    # Metadata spreads a moment after creation; a worker started at once must find every topic.
    for _ in range(100):
        present = set(await admin.list_topics())
        if present.issuperset(s.name for s in missing):
            return
        await asyncio.sleep(0.05)


async def _alter(admin: AIOKafkaAdminClient, altered: Mapping[str, TopicSpec]) -> None:
    """Set settings of topics. The request replaces all of a topic's own settings: the operators' are sent along."""
    own = await _topic_settings(admin, list(altered), own_only=True)
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, name, {**own.get(name, {}), **spec.config})
        for name, spec in altered.items()
    ]
    answer: Any
    for answer in await admin.alter_configs(resources):
        for code, message, _type, name in answer.resources:
            if code:
                raise for_code(code)(f"topic {name}: {message}")


async def _diff(admin: AIOKafkaAdminClient, wanted: list[TopicSpec]) -> list[Change]:
    present = set(await admin.list_topics())
    changes = [
        Change(s.name, "create", partitions=(0, s.partitions)) for s in wanted if s.name not in present
    ]
    there = [s for s in wanted if s.name in present]
    if not there:
        return changes
    counts = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics([s.name for s in there])}
    settings = await _topic_settings(admin, [s.name for s in there])
    for spec in there:
        if counts[spec.name] != spec.partitions:
            changes.append(Change(spec.name, "partitions", partitions=(counts[spec.name], spec.partitions)))
        differing = {
            k: (settings[spec.name].get(k, ""), v)
            for k, v in spec.config.items()
            if settings[spec.name].get(k) != v
        }
        if differing:
            changes.append(Change(spec.name, "settings", settings=differing))
    return changes


async def settings_of(brokers: str, takes: Callable[[str], bool]) -> dict[str, dict[str, str]]:
    """All settings in force of the topics that are there and whose name `takes` takes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        found = [name for name in await admin.list_topics() if takes(name)]
        return await _topic_settings(admin, found) if found else {}
    finally:
        await admin.close()


async def _topic_settings(
    admin: AIOKafkaAdminClient, topics: list[str], own_only: bool = False
) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    found: dict[str, dict[str, str]] = {}
    answer: Any
    for answer in await admin.describe_configs(resources):
        for resource in answer.resources:
            _code, _message, _type, name, entries = resource[:5]
            # An entry is (name, value, read only, source, ...).
            found[name] = {e[0]: e[1] for e in entries if not own_only or e[3] == _TOPIC_CONFIG}
    return found
