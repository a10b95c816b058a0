"""The call service follows the configuration while it runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from schemas.config import Config
from streams.services.call.service import CallService
from streams.settings import Settings
from tests.fakes.call_rig import Rig, codec, until


class LiveConfig:
    """Configurations by version, one active; `hidden` ones are found only by reading on."""

    def __init__(self, config: Config) -> None:
        self.versions, self.hidden = {config.content_hash(): config}, dict[str, Config]()
        self.now = config.content_hash()
        self.listeners: list[Callable[[str, Config], None]] = []

    def active(self) -> tuple[str, Config]:
        return self.now, self.versions[self.now]

    def get(self, version: str) -> Config:
        return self.versions[version]

    async def fetch(self, version: str) -> Config:
        await asyncio.sleep(0)
        self.versions[version] = self.hidden[version]
        return self.versions[version]

    def add_listener(self, listener: Callable[[str, Config], None]) -> None:
        self.listeners.append(listener)

    def activate(self, config: Config) -> None:
        self.now = config.content_hash()
        self.versions[self.now] = config
        for listener in self.listeners:
            listener(*self.active())


@pytest.fixture
async def rig(kafka_brokers: str, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(kafka_brokers, tmp_path)
    yield rig
    await rig.close()


def only(config: Config, *models: str, concurrency: int | None = None) -> Config:
    body = config.model_dump(mode="json") | {"routes": [{"models": list(models)}]}
    body["models"] = {model: body["models"][model] for model in models}
    if concurrency:
        for model in body["models"].values():
            model["limits"]["concurrency"] = concurrency
    return Config.model_validate(body)


async def test_models_come_change_and_go(rig: Rig) -> None:
    await rig.start({"m": {}, "n": {}}, latency_ms="1000")
    m, n = rig.model("m"), rig.model("n")
    first = only(rig.config, m)
    configs = LiveConfig(first)
    configs.hidden[rig.config.content_hash()] = rig.config
    settings = Settings(brokers=rig.brokers, app_id=f"t{rig.run}", worker_name="w", session_timeout_ms=6000)
    service, stop = CallService(settings, codec, configs), asyncio.Event()
    running = asyncio.create_task(service.run(stop))

    async def ready() -> bool:
        assert not running.done(), running.exception()
        return service.ready()

    await until(ready, 60, "ready")
    await rig.publish([rig.task("m", "a"), rig.task("n", "early")])
    assert list(await rig.settled(1)) == [f"{m}-a"], "its version was unknown, and read; n isn't called yet"
    configs.activate(only(rig.config, m, n))
    assert set(await rig.settled(2)) == {f"{m}-a", f"{n}-early"}

    configs.activate(only(rig.config, m, n, concurrency=1))
    before = (await rig.counts())["most_in_flight"]
    await rig.publish(rig.task("n", i) for i in range(3))
    seen = await rig.settled(5)
    starts = sorted(o[0].timings.started_at or 0 for key, o in seen.items() if key[len(n) + 1 :].isdigit())
    assert starts[1] - starts[0] >= 900 and starts[2] - starts[1] >= 900, "one at a time"
    assert (await rig.counts())["most_in_flight"] == before == 1

    await rig.publish([rig.task("m", "last")])

    async def called() -> bool:
        return bool((await rig.counts())["in_flight"])

    await until(called, 30, "the last call of m runs")
    configs.activate(only(rig.config, n))
    await rig.publish([rig.task("m", "after"), rig.task("n", "after")])
    seen = await rig.settled(7)
    assert seen[f"{m}-last"][0].status == "succeeded", "a model that goes finishes what runs"
    assert f"{m}-after" not in seen and seen[f"{n}-after"][0].status == "succeeded"
    stop.set()
    await asyncio.wait_for(running, 30)
    await rig.check_books()


async def test_a_failure_that_no_part_can_handle_ends_the_service(rig: Rig) -> None:
    """A supervisor restarts it; it never goes on past something it doesn't understand."""
    await rig.start({"m": {}})
    configs = LiveConfig(rig.config)
    settings = Settings(brokers=rig.brokers, app_id=f"t{rig.run}", session_timeout_ms=6000)
    service = CallService(settings, codec, configs)
    running = asyncio.create_task(service.run(asyncio.Event()))

    async def ready() -> bool:
        return service.ready()

    await until(ready, 60, "ready")

    def broken(version: str) -> Config:
        raise RuntimeError("a bug")

    configs.get = broken  # type: ignore[method-assign]
    await rig.publish([rig.task("m", 1)])
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(running, 30)
