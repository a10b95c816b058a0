"""The publishers of `examples/publishers` as their readers run them; each event is decoded by our codec.

The Java and Go programs are built and run where their toolchain is installed, and skipped by name elsewhere.
"""

import asyncio
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from schemas import definitions
from schemas.codec import Codec
from schemas.records import RequestEvent
from schemas.registry import Registry, SchemaStore
from tests.conftest import Admin

PUBLISHERS = Path(__file__).parents[2] / "examples" / "publishers"
COMMANDS: dict[str, list[list[str]]] = {
    "python_confluent": [[sys.executable, "publish.py"]],
    "python_aiokafka": [[sys.executable, "publish.py"]],
    "java": [["mvn", "-q", "-B", "package"], ["java", "-jar", "target/publish.jar"]],
    "go": [["go", "build", "-o", "publish", "."], ["./publish"]],
}
TOOLS = {"java": ("mvn", "java"), "go": ("go",)}


def programs() -> list[Any]:
    """Every program; one whose toolchain isn't installed is skipped by name, which the summary shows."""
    lacks = {name: [t for t in TOOLS.get(name, ()) if shutil.which(t) is None] for name in COMMANDS}
    why = "the {} publisher isn't tried: {} isn't installed"
    return [
        pytest.param(name, marks=pytest.mark.skipif(bool(tools), reason=why.format(name, ", ".join(tools))))
        for name, tools in lacks.items()
    ]


BUILD_S = 540


async def run(command: list[str], folder: Path) -> str:
    """What a program prints; the test fails with its errors where it doesn't succeed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(BUILD_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{command}: {out.decode()}{err.decode()}"
    return out.decode()


@pytest.mark.timeout(BUILD_S + 60)
@pytest.mark.parametrize("name", programs())
async def test_a_publisher_publishes_what_sluice_reads(
    name: str, kafka_brokers: str, registry_url: str, admin: Admin, topic_prefix: str, tmp_path: Path
) -> None:
    topic = f"{topic_prefix}requests"
    await admin.create(topic)
    folder = tmp_path / name
    shutil.copytree(PUBLISHERS / name, folder)
    async with httpx.AsyncClient() as http:
        registry = Registry(registry_url, http)
        await registry.register(f"{topic}-value", definitions.self_contained("sluice.RequestEvent"))
        *builds, program = COMMANDS[name]
        for build in builds:
            await run(build, folder)
        arguments = [kafka_brokers, registry_url, "acme", "Say h\u00e9llo"]
        printed = (await run([*program, *arguments, topic], folder)).strip()
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka_brokers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with asyncio.timeout(30):
                record = await consumer.getone()
        finally:
            await consumer.stop()
        codec = Codec(SchemaStore(registry))
        event = await codec.decode_async(record.value, RequestEvent)
    assert event == RequestEvent(id=printed, tenant="acme", prompt="Say h\u00e9llo")
    assert re.fullmatch(r"[0-9A-Za-z-]{26,36}", printed)
    assert record.key == b"acme"


def test_the_table_of_programs_names_each() -> None:
    table = (PUBLISHERS / "README.md").read_text()
    folders = {path.name for path in PUBLISHERS.iterdir() if path.is_dir()}
    assert folders == set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert folders == set(COMMANDS)


def test_a_missing_toolchain_skips_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool in ("go", "mvn") else f"/bin/{tool}")
    skipped = {p.values[0]: m.kwargs["reason"] for p in programs() for m in p.marks if m.args[0]}
    assert skipped == {
        "java": "the java publisher isn't tried: mvn isn't installed",
        "go": "the go publisher isn't tried: go isn't installed",
    }
