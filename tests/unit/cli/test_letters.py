"""The list of dead letters is shown whole, whatever else lies on their topic."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from schemas import names
from schemas.codec import Codec
from schemas.records import DeadLetter
from schemas.registry import SchemaStore
from streams.cli import letters, redrive
from streams.cli.failure import NotFound, Refused
from streams.cli.kafka import FROM_START, Span
from streams.cli.letters import UNREADABLE, Wanted

CODEC = Codec(SchemaStore())
GOOD = DeadLetter(
    id="llm.requests-0-7", kind="k", stage="classify", reason="null_value", message="m", at=2,
    source_topic="llm.requests", source_partition=0, source_offset=7, source_timestamp=1,
)  # fmt: skip
STRANGE = "llm.dead-letters-1-4"


@dataclass
class Lying:
    """A record as it lies on Kafka."""

    offset: int
    key: bytes | None
    value: bytes | None
    topic: str = names.DEAD_LETTERS
    partition: int = 1
    timestamp: int = 1000
    headers: tuple[tuple[str, bytes], ...] = (("a", b"1"),)


RECORDS = [
    Lying(3, GOOD.id.encode(), CODEC.encode(GOOD)),
    Lying(4, b"whatever", b"not a letter at all"),
    Lying(5, None, None),
]


@pytest.fixture(autouse=True)
def kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(brokers: str, topic: str, span: Span = FROM_START) -> Any:
        for record in RECORDS if topic == names.DEAD_LETTERS else []:
            yield record

    @asynccontextmanager
    async def open_codec(place: object) -> AsyncIterator[Codec]:
        yield CODEC

    for name, value in {
        "read": read,
        "open_codec": open_codec,
        "where": lambda: SimpleNamespace(brokers="b"),
    }.items():
        monkeypatch.setattr(letters, name, value)


async def test_what_is_no_letter_is_listed_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    await letters.show_list(Wanted(), as_json=True)
    shown = {x["id"]: x for x in map(json.loads, capsys.readouterr().out.splitlines())}
    assert shown.keys() == {GOOD.id, STRANGE, "llm.dead-letters-1-5"}
    assert shown[STRANGE]["reason"] == UNREADABLE
    assert "neither Confluent's wire format" in shown[STRANGE]["message"]
    await letters.show_list(Wanted(reason="null_value"), as_json=False)
    assert STRANGE not in capsys.readouterr().out


async def test_what_is_no_letter_is_shown_with_its_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    await letters.show_one(STRANGE, None, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["value"], shown["key"], shown["decoded"]) == ("not a letter at all", "whatever", None)
    await letters.show_one(STRANGE, None, as_json=False)
    assert "19 bytes: not a letter at all" in capsys.readouterr().out


async def test_what_is_no_letter_is_not_sent_again() -> None:
    place: Any = SimpleNamespace(brokers="b")
    found = await letters.find(place, CODEC, STRANGE)
    with pytest.raises(Refused, match="must not come twice"):
        await redrive._original(CODEC, found)


async def test_a_letter_is_found_by_its_id_only() -> None:
    place: Any = SimpleNamespace(brokers="b")
    assert await letters.find(place, CODEC, GOOD.id) == GOOD
    with pytest.raises(NotFound):
        await letters.find(place, CODEC, "llm.requests-0-8")
