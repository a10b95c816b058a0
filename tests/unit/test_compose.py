"""docker-compose.yml is right in form, and says of the parts what the embedded stack says.

No engine is needed: the file is held against a schema of the part of the Compose format that it uses. The
schema knows every key that may stand there, so that a mistyped key is an error and not silently nothing.
"""

import copy
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from streams.local.kafka import SETTINGS
from streams.local.packages import KAFKA_VERSION, REGISTRY_VERSION
from streams.settings import Settings
from streams.supervisor import STAGES
from tests.docker_kafka import IMAGE

ROOT = Path(__file__).parents[2]
SCHEMA = jsonschema_rs.validator_for(json.loads(Path(__file__).with_name("compose_schema.json").read_text()))
Tree = dict[str, Any]

# Below these keys stand names that the file's author chooses.
_CHOSEN = {"services", "volumes", "environment", "depends_on", "ulimits"}


@pytest.fixture
def compose() -> Tree:
    loaded: Tree = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_the_file_has_the_form_of_a_compose_file(compose: Tree) -> None:
    assert [f"{'/'.join(map(str, e.instance_path))}: {e.message}" for e in SCHEMA.iter_errors(compose)] == []


def paths_of_keys(tree: object, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where each key stands that the Compose format defines (not those that the author chose)."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if not (at and at[-1] in _CHOSEN) and not key.startswith("x-"):
                yield (*at, key)
            if not key.startswith("x-"):
                yield from paths_of_keys(value, (*at, key))


def renamed(tree: Tree, path: tuple[str, ...], key: str) -> Tree:
    changed = copy.deepcopy(tree)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[key] = place.pop(path[-1])
    return changed


def test_every_mistyped_key_is_found(compose: Tree) -> None:
    paths = list(paths_of_keys(compose))
    assert len(paths) > 100
    missed = [path for path in paths if SCHEMA.is_valid(renamed(compose, path, path[-1] + "s"))]
    assert missed == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("services/kafka/restart", "sometimes"),
        ("services/kafka/stop_grace_period", "60"),
        ("services/kafka/ports", ["9092:9092:9092:9092"]),
        ("services/kafka/ports", 9092),
        ("services/kafka/volumes", ["kafka-data"]),
        ("services/kafka/healthcheck", {"interval": "10s"}),
        ("services/kafka/healthcheck/test", ["CMDS", "true"]),
        ("services/kafka/healthcheck/retries", 0),
        ("services/kafka/healthcheck/interval", 10),
        ("services/kafka/environment", {"A": ["list"]}),
        ("services/kafka/environment", {"A": True}),
        ("services/classify/depends_on/init/condition", "healthy"),
        ("services/classify/build", {"dockerfile": "Dockerfile"}),
        ("services/classify/command", []),
        ("services/clickhouse/ulimits/nofile", {"soft": 1}),
        ("services", {}),
        ("name", "Sluice"),
    ],
)
def test_a_wrong_value_is_found(compose: Tree, path: str, wrong: object) -> None:
    *steps, last = path.split("/")
    place = compose
    for step in steps:
        place = place[step]
    place[last] = wrong
    assert not SCHEMA.is_valid(compose)


def test_dependencies_exist_and_can_come_true(compose: Tree) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, dependency in service.get("depends_on", {}).items():
            assert other in services, f"{name} depends on {other}, which doesn't exist"
            if dependency["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], f"{other} never becomes healthy"
            if dependency["condition"] == "service_completed_successfully":
                assert services[other]["restart"] == "no", f"{other} never ends"


def test_volumes_are_declared_and_used(compose: Tree) -> None:
    used = {m.split(":")[0] for s in compose["services"].values() for m in s.get("volumes", [])}
    assert used == set(compose["volumes"])


def test_what_is_published_is_published_on_loopback_only(compose: Tree) -> None:
    ports = [port for s in compose["services"].values() for port in s.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_images_are_of_the_versions_that_the_embedded_stack_runs(compose: Tree) -> None:
    images = {name: s["image"] for name, s in compose["services"].items()}
    assert images["kafka"] == IMAGE == f"apache/kafka:{KAFKA_VERSION}"
    assert images["registry"].endswith(f":{REGISTRY_VERSION}")
    assert all(":" in image and not image.endswith(":latest") for image in images.values())


def test_the_broker_has_the_settings_of_the_embedded_one(compose: Tree) -> None:
    environment = compose["services"]["kafka"]["environment"]
    expected = {f"KAFKA_{key.upper().replace('.', '_')}": str(value) for key, value in SETTINGS.items()}
    assert {key: environment.get(key) for key in expected} == expected


def test_workers_are_given_only_settings_that_exist(compose: Tree) -> None:
    known = {f"SLUICE_{name.upper()}" for name in Settings.model_fields}
    known.add("SLUICE_MODEL_URL")  # of config/sluice.yaml
    given = {key for service in compose["services"].values() for key in service.get("environment", {})}
    assert {key for key in given if key.startswith("SLUICE_")} <= known


def test_no_password_stands_in_the_file(compose: Tree) -> None:
    for service in compose["services"].values():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key:
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), f"{key} must be required of the environment"


def test_every_stage_has_a_worker_with_time_to_drain(compose: Tree) -> None:
    services = [s for s in compose["services"].values() if s.get("command", [""])[0] == "worker"]
    workers = {service["command"][1]: service for service in services}
    assert set(workers) == set(STAGES)
    for worker in workers.values():
        drain = float(worker["environment"]["SLUICE_DRAIN_TIMEOUT_S"])
        assert float(worker["stop_grace_period"].removesuffix("s")) > drain
        assert worker["environment"]["SLUICE_WEB_PORT"] in " ".join(worker["healthcheck"]["test"])


def test_what_is_built_exists(compose: Tree) -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.M))
    builds = [s["build"] for s in compose["services"].values() if "build" in s]
    assert builds and all((ROOT / b["context"] / b["dockerfile"]).is_file() for b in builds)
    assert {b["target"] for b in builds} <= stages
    copied = {name for line in re.findall(r"^COPY (.+)$", dockerfile, re.M) for name in line.split()[:-1]}
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert {name.rstrip("*") for name in packages["include"]} <= copied, "a package would not be installed"
    sent = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} <= set(sent), "the engine would not be sent what is copied"
