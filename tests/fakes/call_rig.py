"""The call service beside a fake route and a mock provider: processes on a real Kafka, and what they left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from schemas import ids, names
from schemas.codec import Codec
from schemas.config import Config
from schemas.records import Attempt, CallTask, Control, DeadLetter, Outcome, RequestEvent
from schemas.registry import SchemaStore
from streams.services.call.runner import client_id
from streams.settings import child_environment

ROOT = Path(__file__).parents[2]
SHARED = {names.ATTEMPTS: 12, names.TENANT_EVENTS: 12, names.CONTROL: 1, names.DEAD_LETTERS: 12}
TENANT = "acme"
codec = Codec(SchemaStore())


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def until(what: Callable[[], Awaitable[Any]], seconds: float, tell: str) -> Any:
    """Poll until `what` gives something true; fail with `tell` after `seconds`."""
    end = time.monotonic() + seconds
    while not (seen := await what()):
        assert time.monotonic() < end, f"not within {seconds} s: {tell}"
        await asyncio.sleep(0.1)
    return seen


def _ranked(letter: str, models: list[str]) -> str:
    """A worker name that sorts among the members of each model's group as `letter` does (a first, p last)."""
    rank = "0123456789abcdef"[ord(letter) - ord("a")]
    for number in range(100_000):
        name = f"{letter}{number}"
        ids = [client_id(model, name, "") for model in models]
        if all(i[0] == rank for i in ids) if len(models) == 1 else all(i[0] >= rank for i in ids):
            return name
    raise AssertionError(f"no name found for {letter} among {models}")


class Process:
    """A child process whose lines are read as they come."""

    def __init__(self, arguments: list[str], log: Path, **environment: str) -> None:
        self.log = log
        self._out = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env=child_environment(**environment),
        )

    def said(self, word: str) -> list[str]:
        return [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith(word)]

    async def says(self, word: str, seconds: float = 90) -> str:
        """The first line that starts with `word`."""

        async def seen() -> list[str]:
            code = self.process.poll()
            found = self.said(word)
            assert found or code is None, f"ended with {code}: {self.log.read_text(errors='replace')[-3000:]}"
            return found

        return (await until(seen, seconds, f"{self.log.name} says {word!r}"))[0]

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    async def ended(self, seconds: float = 90) -> int:
        """The exit code, once there is one."""

        async def done() -> bool:
            return self.process.poll() is not None

        await until(done, seconds, f"{self.log.name} ends")
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._out.close()


class Rig:
    """One broker, one mock provider, any number of models and call workers. Names are new, so rigs don't meet."""

    def __init__(self, brokers: str, folder: Path) -> None:
        self.brokers, self.folder = brokers, folder
        self.run = uuid.uuid4().hex[:8]
        self.models: dict[str, dict[str, Any]] = {}
        self.processes: list[Process] = []
        self.config: Config
        self.provider: Process
        self.port = 0
        self._outcomes: dict[str, list[Outcome]] = {}
        self._reader: AIOKafkaConsumer
        self._producer: AIOKafkaProducer
        self._known: set[str] = set()

    async def start(self, models: dict[str, dict[str, Any]], *, price: bool = True, **provider: str) -> None:
        """Start the mock provider and make the topics of `models` (name -> overrides of its configuration)."""
        options = [f"--{key.replace('_', '-')}={value}" for key, value in provider.items()]
        arguments = ["-m", "tests.fakes.provider", *options]
        self.provider = self._process(arguments, "provider")
        self.port = int((await self.provider.says("listening")).split()[1])
        where = {"kind": "openai", "base_url": f"http://127.0.0.1:{self.port}/v1"}
        common: dict[str, Any] = {"provider": "mock", "vendor_model": "mock", "limits": {"concurrency": 64}}
        if price:
            common["price"] = {"input": "1", "output": "2"}
        self.models = {self.model(name): {**common, **more} for name, more in models.items()}
        self.config = Config.model_validate(
            {
                "providers": {"mock": where, "dummy": {"kind": "dummy", "dummy": {"latency_ms": 1}}},
                "models": self.models,
                "tenants": {TENANT: {}},
                "routes": [{"models": list(self.models)}],
            }
        )
        await self._create_topics()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.brokers, acks="all", max_request_size=6 << 20
        )
        await self._producer.start()
        self._reader = AIOKafkaConsumer(bootstrap_servers=self.brokers, isolation_level="read_committed")
        await self._reader.start()
        tps = [TopicPartition(names.TENANT_EVENTS, p) for p in range(SHARED[names.TENANT_EVENTS])]
        self._reader.assign(tps)
        for tp, end in (await self._reader.end_offsets(tps)).items():
            self._reader.seek(tp, end)

    def model(self, name: str) -> str:
        """The model id of `name` in this rig."""
        return f"{name}-{self.run}"

    async def _create_topics(self) -> None:
        calls = [names.calls_topic(model, lane) for model in self.models for lane in names.LANES]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers)
        await admin.start()
        wanted = [NewTopic(topic, count, 1) for topic, count in SHARED.items()]
        response = await admin.create_topics(wanted + [NewTopic(topic, 1, 1) for topic in calls])
        for topic, code, *_ in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(topic)
        await admin.close()

    def _process(self, arguments: list[str], name: str, **environment: str) -> Process:
        process = Process(arguments, self.folder / f"{name}-{len(self.processes)}.log", **environment)
        self.processes.append(process)
        return process

    def worker(self, name: str, *models: str, crash_point: str = "", drain_timeout_s: float = 60) -> Process:
        """Start a call worker for `models` (all where none is named). The least letter owns the partitions."""
        chosen = {self.model(m): self.models[self.model(m)] for m in models} or self.models
        config = self.config.model_dump(mode="json") | {"routes": [{"models": list(chosen)}]}
        config["models"] = {model: config["models"][model] for model in chosen}
        path = self.folder / f"config-{len(self.processes)}.json"
        path.write_text(json.dumps({"version": self.config.content_hash(), "config": config}))
        return self._process(
            ["-m", "tests.fakes.call_worker", str(path)],
            f"worker-{name}",
            SLUICE_BROKERS=self.brokers,
            SLUICE_APP_ID=f"t{self.run}",
            SLUICE_WORKER_NAME=_ranked(name, list(chosen)),
            SLUICE_CRASH_POINT=crash_point,
            SLUICE_SESSION_TIMEOUT_MS="6000",
            SLUICE_DRAIN_TIMEOUT_S=str(drain_timeout_s),
        )

    def task(self, model: str, number: int | str, prompt: str = "hello", **more: Any) -> CallTask:
        """An order for request `<model>-<run>-<number>`."""
        model_id, now = self.model(model), now_ms()
        request_id = f"{model_id}-{number}"
        deadline = now + int(more.pop("deadline_s", 120) * 1000)
        fields: dict[str, Any] = {
            "request_id": request_id,
            "tenant": TENANT,
            "attempt": 1,
            "attempt_id": ids.attempt_id(TENANT, request_id, 1),
            "model": model_id,
            "lane": "standard",
            "task_type": "chat",
            "accepted_at": now,
            "deadline_at": deadline,
            "issued_at": now,
            "config_version": self.config.content_hash(),
            "route_partition": sum(request_id.encode()) % SHARED[names.TENANT_EVENTS],
            "input_tokens_estimate": 20,
            "max_output_tokens": 256,
            "request": RequestEvent(id=request_id, tenant=TENANT, prompt=prompt),
        }
        return CallTask(**(fields | more))

    async def publish(self, tasks: Iterable[CallTask]) -> None:
        """Write tasks to their call topics, as route does."""
        for task in tasks:
            await self.publish_bytes(
                names.calls_topic(task.model, task.lane), codec.encode(task), task.request_id
            )
        await self._producer.flush()

    async def publish_bytes(self, topic: str, value: bytes | None, key: str) -> None:
        await self._producer.send(topic, value, key.encode())

    async def command(self, key: str, **fields: Any) -> None:
        """Write a command to llm.control."""
        control = Control(event_id=uuid.uuid4().hex, at=now_ms(), actor="test", **fields)
        await self._producer.send_and_wait(names.CONTROL, codec.encode(control, names.CONTROL), key.encode())

    async def outcomes(self) -> dict[str, list[Outcome]]:
        """Every outcome so far of this rig's requests, by request id, in order."""
        while batches := await self._reader.getmany(timeout_ms=100, max_records=2000):
            for message in (m for batch in batches.values() for m in batch):
                if self.run.encode() in message.value:
                    outcome = codec.decode(message.value, Outcome)
                    self._outcomes.setdefault(outcome.request_id, []).append(outcome)
        return self._outcomes

    async def settled(self, count: int, seconds: float = 90) -> dict[str, list[Outcome]]:
        """The outcomes, once `count` requests have one."""

        async def enough() -> dict[str, list[Outcome]]:
            seen = await self.outcomes()
            return seen if len(seen) >= count else {}

        try:
            return await until(enough, seconds, f"{count} outcomes")
        except AssertionError as error:
            logs = "\n".join(p.log.read_text(errors="replace")[-1500:] for p in self.processes)
            raise AssertionError(f"{error}; there are {len(self._outcomes)}\n{logs}") from None

    async def read(self, topic: str, record: type[Any], every: bool = False) -> list[Any]:
        """Every record of this rig (or of all) on a shared topic."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.brokers, isolation_level="read_committed")
        await consumer.start()
        tps = [TopicPartition(topic, p) for p in range(SHARED[topic])]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        out: list[Any] = []
        for tp, end in (await consumer.end_offsets(tps)).items():
            while await consumer.position(tp) < end:
                for message in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []):
                    if every or self.run.encode() in message.value:
                        out.append(codec.decode(message.value, record))
        await consumer.stop()
        return out

    async def journal(self) -> list[Attempt]:
        return await self.read(names.ATTEMPTS, Attempt)

    async def read_all_letters(self) -> list[DeadLetter]:
        return await self.read(names.DEAD_LETTERS, DeadLetter, every=True)

    async def counts(self) -> dict[str, Any]:
        """What the provider counted."""
        url = f"http://127.0.0.1:{self.port}/counts"

        def get() -> dict[str, Any]:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return dict(json.loads(answer.read()))

        return await asyncio.to_thread(get)

    async def check_books(self) -> None:
        """What the provider counted was journaled before, once each, and its end was told to route."""
        counted: dict[str, int] = (await self.counts())["by_attempt"]
        journal = await self.journal()
        begun = Counter(f"{r.attempt_id}.{r.try_}" for r in journal if r.phase == "started")
        begun.subtract(f"{r.attempt_id}.{r.try_}" for r in journal if r.phase == "abandoned")
        told = {o.attempt_id for seen in (await self.outcomes()).values() for o in seen}
        for header, calls in counted.items():
            assert calls == 1, f"the provider was called {calls} times for {header}"
            assert begun[header] == 1, f"{header} was called and journaled {begun[header]} times"
            assert header.rpartition(".")[0] in told, f"{header} was called and its end not told"

    async def close(self) -> None:
        for process in self.processes:
            if process.process.poll() is None:
                process.signal(signal.SIGCONT)
            process.close()
        await self._producer.stop()
        await self._reader.stop()
