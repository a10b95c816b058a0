"""Kafka in a container, for machines where a Docker engine answers."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from streams.local.kafka import SETTINGS, coordinators_answer
from streams.local.packages import KAFKA_VERSION
from streams.local.ports import HOST, choose

IMAGE = f"apache/kafka:{KAFKA_VERSION}"
_READY_S = 90


def docker_answers() -> bool:
    """True when a Docker engine answers within seconds; the command alone says nothing."""
    if shutil.which("docker") is None:
        return False
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def environment(port: int) -> dict[str, str]:
    """The image's variables for one node whose clients reach it on `port` of this machine."""
    settings: dict[str, int | str] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": "1@localhost:9094",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://:9094",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        **SETTINGS,
    }
    return {"KAFKA_" + key.upper().replace(".", "_"): str(value) for key, value in settings.items()}


@contextmanager
def kafka_container() -> Iterator[str]:
    """A broker with the settings of the embedded one; gives its bootstrap address."""
    from testcontainers.core.container import DockerContainer

    port = choose()
    container = DockerContainer(IMAGE).with_bind_ports(port, port).with_envs(**environment(port))
    with container:
        brokers = f"{HOST}:{port}"
        deadline = time.monotonic() + _READY_S
        while not coordinators_answer(brokers):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Kafka in Docker was not ready within {_READY_S} s")
            time.sleep(0.1)
        yield brokers
