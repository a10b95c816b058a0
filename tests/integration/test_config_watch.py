"""The configuration topic as workers read it, where what it holds is wrong."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.config import Config
from streams.config_watch import ConfigWatcher, NoConfiguration

Put = Callable[[bytes, bytes], Awaitable[Any]]


def config(tenant: str) -> Config:
    return Config.model_validate(
        {
            "providers": {"d": {"kind": "dummy"}},
            "models": {"m": {"provider": "d", "vendor_model": "v"}},
            "tenants": {tenant: {}},
            "routes": [{"models": ["m"]}],
        }
    )


@pytest.fixture
async def producer(
    admin: Any, kafka_brokers: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AIOKafkaProducer]:
    """A producer, and a configuration topic of this test's own."""
    monkeypatch.setattr("streams.config_watch.CONFIG", f"{topic_prefix}config")
    await admin.create(f"{topic_prefix}config", cleanup_policy="compact")
    producer = AIOKafkaProducer(bootstrap_servers=kafka_brokers)
    await producer.start()
    yield producer
    await producer.stop()


def crash(error: BaseException) -> None:
    raise AssertionError("the watcher gave up") from error


async def started(brokers: str, wait_s: float = 30) -> tuple[str, Config]:
    """What a worker that starts now finds active."""
    watcher = ConfigWatcher(brokers, crash)
    await watcher.start(wait_s)
    await watcher.stop()
    return watcher.active()


@pytest.fixture
def put(producer: AIOKafkaProducer, topic_prefix: str) -> Put:
    """Publishes a key and a value on the configuration topic."""
    return lambda key, value: producer.send_and_wait(f"{topic_prefix}config", value, key=key)


@pytest.mark.parametrize("pointer", [b"absent", b"\xff\xfe", b""])
async def test_a_pointer_to_nothing_leaves_the_last_right_version(
    put: Put, kafka_brokers: str, pointer: bytes
) -> None:
    """Also where compaction has left no other pointer."""
    for tenant in ("old", "new"):
        await put(config(tenant).content_hash().encode(), config(tenant).to_json())
    await put(b"broken", b"{not a configuration")
    await put(b"active", pointer)
    assert await started(kafka_brokers) == (config("new").content_hash(), config("new"))


async def test_a_version_without_any_pointer_is_not_active(put: Put, kafka_brokers: str) -> None:
    await put(config("a").content_hash().encode(), config("a").to_json())
    with pytest.raises(NoConfiguration, match="sluice config apply"):
        await started(kafka_brokers, wait_s=2)
