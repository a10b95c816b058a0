"""Fixtures over real parts: each is started once a session, when a test first asks for it.

A part that can't start fails the tests that need it: nothing is skipped. With `--stack-home DIR` the parts of
a running stack are used (started there if need be, and left running) instead of the session's own.
"""

import asyncio
import random
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code
from hypothesis import settings as hypothesis_settings

from streams.local.stack import Endpoints, Stack
from streams.settings import get_settings
from tests.chaos.scale import use_full_size
from tests.docker_kafka import docker_answers, kafka_container

pytest_plugins = ("tests.pipeline.fixtures",)

FOLDERS = ("unit", "property", "integration", "chaos")  # the order in which tests run; each is a marker
HERE = Path(__file__).parent

hypothesis_settings.register_profile("sluice", print_blob=True, deadline=None)
hypothesis_settings.load_profile("sluice")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stack-home", type=Path, help="use the stack in this directory, leave it running")
    parser.addoption("--full", action="store_true", help="run fault tests at full size instead of scaled down")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed here, so that a failure that depends on it can be repeated from what was printed."""
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = random.SystemRandom().randrange(2**32)
    use_full_size(config.getoption("--full"))


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed of this run: --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test with its folder's name, early enough for `-m`."""
    if (folder := _folder(item)) in FOLDERS:
        item.add_marker(folder)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the quick folders first."""
    items.sort(key=lambda item: FOLDERS.index(folder) if (folder := _folder(item)) in FOLDERS else -1)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The session's stack, with nothing started yet."""
    home: Path | None = pytestconfig.getoption("--stack-home")
    cache = get_settings().cache_dir
    if home is not None:
        yield Stack(home, cache)
        return
    home = tmp_path_factory.mktemp("stack")
    stack = Stack(home, cache, die_with_parent=True)
    yield stack
    stack.down()
    shutil.rmtree(home / "data", ignore_errors=True)  # the logs stay, as pytest keeps them for its last runs


@pytest.fixture(scope="session")
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Stack]]:
    """Makes stacks of a test's own, for tests that stop or kill a part. All are ended with the session."""
    made: list[Stack] = []

    def make() -> Stack:
        stack = Stack(tmp_path_factory.mktemp("own"), get_settings().cache_dir, die_with_parent=True)
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.down()
        shutil.rmtree(stack.home / "data", ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_brokers(pytestconfig: pytest.Config, stack: Stack) -> Iterator[str]:
    """The bootstrap address of a real Kafka: a container where a Docker engine answers, else a process."""
    if pytestconfig.getoption("--stack-home") is None and docker_answers():
        with kafka_container() as brokers:
            yield brokers
    else:
        yield stack.up(["kafka"]).brokers


@pytest.fixture(scope="session")
def registry_url(stack: Stack) -> str:
    """The root of the schema registry's Confluent API."""
    return stack.up(["registry"]).registry_url


@pytest.fixture(scope="session")
def clickhouse_url(stack: Stack) -> str:
    """ClickHouse's HTTP interface."""
    return stack.up(["clickhouse"]).clickhouse_url


@pytest.fixture(scope="session")
def model_server_url(stack: Stack) -> str:
    """The base URL (ending in /v1) of the small real model."""
    return stack.up(["model"]).model_url


@pytest.fixture(scope="session")
def endpoints(kafka_brokers: str, registry_url: str, clickhouse_url: str, model_server_url: str) -> Endpoints:
    """All parts."""
    return Endpoints(kafka_brokers, registry_url, clickhouse_url, model_server_url)


@pytest.fixture(scope="session")
def full_size(pytestconfig: pytest.Config) -> bool:
    """True where fault tests shall run at full size (`make chaos`), False for their scaled versions."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test has, for topics, groups and transactional ids: all share one broker."""
    return f"t{uuid.uuid4().hex[:10]}."


class Admin:
    """Makes topics for tests."""

    def __init__(self, client: AIOKafkaAdminClient) -> None:
        self.client = client

    async def create(self, *names: str, partitions: int = 1, **config: str | int) -> None:
        """Create topics; `config` in Python spelling (cleanup_policy="compact"). Raises Kafka's own error."""
        spelled = {key.replace("_", "."): str(value) for key, value in config.items()}
        wanted = [NewTopic(name, partitions, 1, topic_configs=spelled) for name in names]
        response = await self.client.create_topics(wanted)
        for topic, code, *message in response.topic_errors:
            if code:
                raise for_code(code)(f"{topic}: {message}")
        while not await self._known(names):
            await asyncio.sleep(0.02)

    async def _known(self, names: tuple[str, ...]) -> bool:
        """Whether metadata tell of the topics and their leaders: the broker answers a creation a moment earlier."""
        found = await self.client.describe_topics(list(names))
        return all(not t["error_code"] and all(p["leader"] >= 0 for p in t["partitions"]) for t in found)


@pytest.fixture
async def admin(kafka_brokers: str) -> AsyncIterator[Admin]:
    """An admin client on the session's broker."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_brokers)
    await client.start()
    try:
        yield Admin(client)
    finally:
        await client.close()
