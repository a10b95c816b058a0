"""How long texts are kept: the rule, and that what carries a text carries its days."""

from typing import Any

import pytest

from schemas.codec import Codec
from schemas.config import Config
from schemas.config_retention import Retention
from schemas.names import DEAD_LETTERS, REQUESTS, RESULTS
from schemas.records import DeadLetter, RequestEvent
from schemas.registry import SchemaStore
from sinks.config_record import ConfigRecord
from sinks.dead_letter import KafkaDeadLetters, days_told
from tests.fakes import sink_events as events
from tests.unit.route.world import World, outcome, records_of, result
from tests.unit.route.world import config as route_config
from tests.unit.test_classifier import Active, classified, letter_of
from tests.unit.test_config_rules import config

CODEC = Codec(SchemaStore())
RULE = Retention(
    bodies_days=30, dead_letters_days=90, data_classes={"personal": 7, "public": 365, "legal": 0}
)


@pytest.mark.parametrize(
    ("classes", "bodies", "letters"),
    [
        ([], 30, 90),
        (["personal"], 7, 7),
        (["public"], 365, 365),
        (["public", "personal"], 7, 7),
        (["public", "unlisted"], 30, 90),
        (["legal"], 0, 0),
        (["legal", "public"], 365, 365),
        (["legal", "unlisted"], 30, 90),
    ],
)
def test_the_shortest_time_of_the_classes_holds(classes: list[str], bodies: int, letters: int) -> None:
    assert (RULE.of_bodies(classes), RULE.of_dead_letters(classes)) == (bodies, letters)


def test_what_is_kept_for_ever_stays_unless_a_class_says_otherwise() -> None:
    rule = Retention(bodies_days=0, data_classes={"personal": 7})  # type: ignore[call-arg]
    assert (rule.of_bodies([]), rule.of_bodies(["personal"]), rule.of_dead_letters([])) == (0, 7, 0)


def retaining(**retention: Any) -> Config:
    return Config.model_validate(route_config().model_dump(mode="json") | {"retention": retention})


def test_a_result_with_text_carries_its_classes_and_days_and_one_without_carries_none() -> None:
    world = World(retaining(data_classes={"personal": 7}))
    task = world.submit("r1", data_classes=["personal"])
    ended = result(world.feed(outcome(task)))
    assert (ended.data_classes, ended.retention_days) == (["personal"], 7)
    task = world.submit("r2", data_classes=["personal"])
    ended = result(world.feed(outcome(task, "cancelled")))
    assert (ended.text, ended.data_classes, ended.retention_days) == (None, ["personal"], None)


def test_a_quarantined_request_is_kept_as_its_class_says() -> None:
    world = World(retaining(data_classes={"personal": 7}))
    task = world.submit("r1", "wary", data_classes=["personal"])
    [letter] = records_of(world.feed(outcome(task, "unknown")), DeadLetter)
    assert letter.retention_days == 7


async def test_a_letter_of_classify_is_kept_as_the_class_of_its_request_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    active = Config.model_validate(config() | {"retention": RULE.model_dump()})
    monkeypatch.setattr(Active, "active", lambda self: ("v1", active))
    for classes, days in ((["personal"], 7), ([], 90)):
        event = RequestEvent(id="r", tenant="nobody", prompt="hello", data_classes=classes)
        assert letter_of(await classified(CODEC.encode(event, REQUESTS))).retention_days == days
    assert letter_of(await classified(b"no Avro")).retention_days == 90


async def test_a_letter_of_the_sink_is_kept_as_its_event_says() -> None:
    sent: list[bytes] = []

    async def send(key: bytes, value: bytes) -> None:
        sent.append(value)

    async def days(letter: DeadLetter) -> int | None:
        return days_told(letter, type(events.result(1)), CODEC.decode)

    event = events.result(1)
    event.retention_days = 7
    letter = events.dead_letter(1)
    letter.value = CODEC.encode(event, RESULTS)
    await KafkaDeadLetters(send, lambda made: CODEC.encode(made, DEAD_LETTERS), days).publish([letter])
    assert CODEC.decode(sent[0], DeadLetter).retention_days == 7
    for value, kind in ((b"no Avro", type(event)), (None, type(event)), (b"{}", ConfigRecord)):
        letter.value = value
        assert days_told(letter, kind, CODEC.decode) is None
    event.retention_days = 10**6
    letter.value = CODEC.encode(event, RESULTS)
    assert days_told(letter, type(event), CODEC.decode) is None
