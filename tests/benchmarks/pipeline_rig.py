"""The system under the pipeline's benchmark: a stack, a mock provider and one worker a stage, on this machine."""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from aiokafka import AIOKafkaProducer

from schemas import names
from schemas.codec import Codec
from schemas.config import Config
from schemas.records import RequestEvent
from schemas.registry import Registry, SchemaStore
from streams import config_watch, topics
from streams.local.ports import choose
from streams.local.stack import Endpoints, Stack
from streams.settings import child_environment, get_settings

STAGES = ("classify", "route", "call", "sink")
PROMPT = "Please summarise the following note for the branch manager. " * 8


@dataclass
class Worker:
    """A process under measurement."""

    name: str
    process: subprocess.Popen[bytes]
    web_port: int = 0
    peak_rss_mb: float = 0

    def cpu_s(self) -> float:
        """User and system seconds so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def sample(self) -> None:
        """Note the memory now."""
        rss = psutil.Process(self.process.pid).memory_info().rss / (1 << 20)
        self.peak_rss_mb = max(self.peak_rss_mb, rss)


@dataclass
class Rig:
    """Everything that runs. `close` ends it all, by id."""

    home: Path
    stack: Stack = field(init=False)
    endpoints: Endpoints = field(init=False)
    codec: Codec = field(init=False)
    workers: dict[str, Worker] = field(default_factory=dict)
    extra: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def start(self) -> None:
        """Stack, topics, schemas, configuration, workers (the sink makes its tables)."""
        self.stack = Stack(self.home, get_settings().cache_dir, die_with_parent=True)
        self.endpoints = await asyncio.to_thread(self.stack.up, ["kafka", "registry", "clickhouse"])
        self.provider_url = f"http://127.0.0.1:{self.provider(latency_ms=50)}/v1"
        self.slow_url = f"http://127.0.0.1:{self.provider(latency_ms=30_000)}/v1"
        config = self.config()
        store = SchemaStore(Registry(self.endpoints.registry_url, httpx.AsyncClient(timeout=10)))
        await store.register_all()
        self.codec = Codec(store)
        await topics.apply(self.endpoints.brokers, topics.specs(config))
        await config_watch.publish(self.endpoints.brokers, config)
        for stage in STAGES:
            self.worker(stage)
        await self.until_ready()

    def config(self) -> Config:
        """Two models on mock providers: 50 ms latency, and 30 s for the calls in flight."""
        model = {"vendor_model": "m", "price": {"input": 1, "output": 2}}
        slow = {"limits": {"concurrency": 12_000}, "timeouts": {"first_token_s": 120, "idle_s": 60, "total_s": 200}}
        return Config.model_validate(
            {
                "defaults": {"deadline_s": 600},
                "providers": {
                    "mock": {"kind": "openai", "base_url": self.provider_url},
                    "slow": {"kind": "openai", "base_url": self.slow_url},
                },
                "models": {
                    "mock": {"provider": "mock", "limits": {"concurrency": 500}, **model},
                    "slow": {"provider": "slow", **slow, **model},
                },
                "topics": {"partitions": 4},
                "tenants": {f"tenant-{i}": {} for i in range(6)},
                "routes": [{"models": ["mock"]}],
            }
        )

    def provider(self, latency_ms: int, chunks: int = 20) -> int:
        """Start a mock provider; returns its port."""
        port = choose()
        command = [sys.executable, "-m", "tests.fakes.provider", "--port", str(port)]
        command += ["--latency-ms", str(latency_ms), "--chunks", str(chunks)]
        self.extra.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        return port

    def worker(self, stage: str) -> None:
        """Start the worker of a stage."""
        port = choose()
        environment = child_environment(
            SLUICE_BROKERS=self.endpoints.brokers,
            SLUICE_REGISTRY_URL=self.endpoints.registry_url,
            SLUICE_CLICKHOUSE_URL=self.endpoints.clickhouse_url,
            SLUICE_WEB_PORT=str(port),
        )
        with open(self.home / f"{stage}.log", "wb") as log:
            command = [sys.executable, "-m", "streams.cli.main", "worker", stage]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.workers[stage] = Worker(stage, process, port)

    async def until_ready(self, within_s: float = 90) -> None:
        """Until every worker answers /readyz. Raises TimeoutError that names the ones that don't."""
        deadline = time.monotonic() + within_s
        async with httpx.AsyncClient() as http:
            waiting = set(self.workers)
            while waiting:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not ready after {within_s} s: {sorted(waiting)}; see {self.home}")
                for name in list(waiting):
                    try:
                        answer = await http.get(f"http://127.0.0.1:{self.workers[name].web_port}/readyz")
                    except httpx.TransportError:
                        continue
                    if answer.status_code == 200:
                        waiting.discard(name)
                await asyncio.sleep(0.2)

    async def producer(self) -> AIOKafkaProducer:
        """A started producer for requests."""
        producer = AIOKafkaProducer(bootstrap_servers=self.endpoints.brokers, acks="all", linger_ms=2)
        await producer.start()
        return producer

    def request(self, request_id: str, number: int, model: str = "mock") -> bytes:
        """An encoded request event."""
        event = RequestEvent(id=request_id, tenant=f"tenant-{number % 6}", prompt=PROMPT, model=model)
        return self.codec.encode(event, names.REQUESTS)

    def broker_cpu_s(self) -> float:
        """CPU seconds of the Kafka process so far."""
        (pid,) = [part.pid for part in self.stack.status() if part.name == "kafka"]
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)

    def sample(self) -> None:
        """Note every worker's memory."""
        for worker in self.workers.values():
            worker.sample()

    def close(self) -> None:
        """End workers, mock providers and the stack."""
        started = [w.process for w in self.workers.values()] + self.extra
        for process in started:
            if process.poll() is None:
                process.terminate()
        for process in started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.stack.down()
