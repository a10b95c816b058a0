"""Apache Kafka as one KRaft node: broker and controller in one process, data on disk."""

import asyncio
import base64
import socket
import subprocess
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.local.packages import Packages
from streams.local.part import HOST, Part, ProcessFailed
from streams.local.state import PartName

_MESSAGE_BYTES = 6 << 20  # a result of 2 MiB together with what it answers, encoded, fits
_HEAP = ("-Xmx512m", "-Xms128m", "-XX:+ExitOnOutOfMemoryError")
_QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)
_GROUP, _TRANSACTION = 0, 1
_PROBE_ID = "sluice-ready"


@dataclass(kw_only=True)
class Kafka(Part):
    """A broker for one machine. Ports: `broker` for clients, `controller` for itself."""

    packages: Packages

    name: ClassVar[PartName] = "kafka"
    title: ClassVar[str] = "Apache Kafka"
    roles: ClassVar[tuple[str, ...]] = ("broker", "controller")

    def url(self) -> str:
        """The bootstrap address, `host:port`."""
        return f"{HOST}:{self.ports['broker']}"

    def command(self) -> Sequence[str]:
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def prepare(self) -> None:
        """Write the properties and, once, format the data directory."""
        self._properties.write_text(self._settings())
        if not (self._logs / "meta.properties").exists():
            self._format()

    def ready(self) -> bool:
        """True when both coordinators answer: joining a group or a transaction before would be refused."""
        return coordinators_answer(self.url())

    @property
    def _properties(self) -> Path:
        return self.data / "server.properties"

    @property
    def _logs(self) -> Path:
        return self.data / "logs"

    def _java(self) -> list[str]:
        class_path = f"{self.packages.kafka()}/*"
        return [str(self.packages.java), *_HEAP, *_QUICK_START, *_LOGGING, "-cp", class_path]

    def _format(self) -> None:
        arguments = ["format", "-t", _cluster_id(), "-c", str(self._properties), "--ignore-formatted"]
        command = [*self._java(), "kafka.tools.StorageTool", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-2000:]
            raise ProcessFailed(f"Kafka could not format {self._logs}:\n{said}")

    def _settings(self) -> str:
        broker, controller = self.ports["broker"], self.ports["controller"]
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{broker}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._logs,
            **SETTINGS,
        }
        return "".join(f"{k}={v}\n" for k, v in settings.items())


SETTINGS: Final[dict[str, int | str]] = {
    # One node holds everything.
    "default.replication.factor": 1,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 12,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 12,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # Topics are provisioned, never made by a typing error.
    "auto.create.topics.enable": "false",
    "message.max.bytes": _MESSAGE_BYTES,
    "replica.fetch.max.bytes": _MESSAGE_BYTES,
    # A group forms at once; short sessions find dead workers soon.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 2000,
    # A transaction whose writer died is aborted within a second after its timeout, so that readers go on.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # Offsets outlive a holiday: a stack that was down for weeks must not start over.
    "offsets.retention.minutes": 60 * 24 * 60,
    # A broker that was killed may register again only when its old session has passed: 9 s by default.
    "broker.session.timeout.ms": 6000,
    "broker.heartbeat.interval.ms": 500,
    # Small numbers for a small machine.
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    "num.recovery.threads.per.data.dir": 2,
    "log.cleaner.dedupe.buffer.size": 32 << 20,
    "log.segment.bytes": 256 << 20,
}


def _cluster_id() -> str:
    """A new id in Kafka's text form of a UUID: URL-safe base 64 without padding."""
    # It must not begin with a dash: the format tool would take it for an option.
    return "S" + base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()[1:]


def coordinators_answer(brokers: str) -> bool:
    """True when the broker at `host:port` coordinates groups and transactions."""
    host, _, port = brokers.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    with ThreadPoolExecutor(1) as thread:  # the caller may itself run in an event loop
        return thread.submit(asyncio.run, _coordinators_answer(brokers)).result()


async def _coordinators_answer(brokers: str) -> bool:
    client = AIOKafkaAdminClient(bootstrap_servers=brokers, request_timeout_ms=5000)
    try:
        await client.start()
        await client.find_coordinator(_PROBE_ID, _GROUP)
        await client.find_coordinator(_PROBE_ID, _TRANSACTION)
        await client.list_consumer_group_offsets(_PROBE_ID)
    except KafkaError:
        return False
    finally:
        await client.close()
    return True
