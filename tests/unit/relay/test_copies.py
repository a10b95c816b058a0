"""What the relay writes for a result."""

import asyncio

from aiokafka.errors import KafkaConnectionError

from schemas.codec import Codec
from schemas.records import DeadLetter
from schemas.registry import SchemaStore
from streams.services.relay_contract import RelaySettings
from streams.services.relay_copies import Copies
from tests.fakes.relay import SETTINGS, TOO_LARGE, Record


async def unread() -> int | None:
    return 3


async def test_the_list_of_topics_is_asked_again_by_age_and_outlives_an_answer_that_fails() -> None:
    codec, topics, answers = Codec(SchemaStore()), {"replies"}, []

    async def ask() -> set[str]:
        if answers:
            raise answers.pop()
        return set(topics)

    settings = RelaySettings("nowhere:1", "app", topics_every_ms=0, topics_age_ms=50)
    copies = Copies(settings, codec, lambda: 7, ask, unread)
    record = Record(codec, "replies")

    async def reason() -> str | None:
        made = await copies.of(record)
        assert made is not None
        return made.refused

    assert await reason() is None
    topics.clear()
    assert await reason() is None, "young enough"
    await asyncio.sleep(0.06)
    answers.append(KafkaConnectionError())
    assert await reason() is None, "a broker that doesn't answer says nothing about the topic"
    assert await reason() == "reply_topic_missing"


def test_a_refusal_says_what_to_mend() -> None:
    codec = Codec(SchemaStore())

    async def ask() -> set[str]:
        return {"replies"}

    copies = Copies(SETTINGS, codec, lambda: 7, ask, unread)
    made = asyncio.run(copies.of(Record(codec, "replies")))
    assert made is not None
    letter = codec.decode(copies.refusal(made, TOO_LARGE).value, DeadLetter)
    assert (letter.reason, letter.source_offset, letter.request_id) == ("reply_topic_refused", 7, "r")
    assert letter.claimed_tenant == "acme" and letter.value == made.value
    assert "'replies'" in letter.message and "max.message.bytes" in letter.message


async def test_the_original_of_a_letter_is_kept_as_long_as_its_result_or_its_configuration_says() -> None:
    codec = Codec(SchemaStore())

    async def none() -> set[str]:
        return set()

    copies = Copies(SETTINGS, codec, lambda: 7, none, unread)
    readable, unreadable = Record(codec, "replies", retention_days=5), Record(codec, "replies")
    unreadable.value = b"no Avro"
    for record, days in ((readable, 5), (unreadable, 3)):
        made = await copies.of(record)
        assert made is not None and codec.decode(made.value, DeadLetter).retention_days == days
