"""What the relay writes for each result: a copy, a dead letter, or nothing."""

import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError

from schemas import names
from schemas.records import ResultEvent
from schemas.signals import Invalid
from streams.dead_letters import dead_letter
from streams.outbox.reading import inbound_of
from streams.services.relay_contract import Copy, RelaySettings, ResultCodec

log = logging.getLogger(__name__)

RESERVED_PREFIX = "llm."


class Copies:
    """Makes copies and dead letters. `topics` asks the broker which topics exist, `days_of_unread` says how long
    the original of a letter is kept that can't be decoded."""

    def __init__(
        self,
        settings: RelaySettings,
        codec: ResultCodec,
        now_ms: Callable[[], int],
        topics: Callable[[], Awaitable[set[str]]],
        days_of_unread: Callable[[], Awaitable[int | None]],
    ) -> None:
        self._settings, self._codec, self._now_ms, self._ask = settings, codec, now_ms, topics
        self._days_of_unread = days_of_unread
        self._topics: set[str] = set()
        self._topics_at = -math.inf

    async def of(self, record: Any) -> Copy | None:
        """What is to be written for one result. Waits as long as the schema registry must be asked and is away."""
        try:
            result = await self._codec.decode_async(record.value, ResultEvent)
        except Invalid as invalid:
            days = await self._days_of_unread()
            return self._dead_letter(record, invalid.reason, invalid.message, None, days)
        topic = result.reply_topic
        if topic is None:
            return None
        if topic.startswith(RESERVED_PREFIX):
            message = f"reply_topic {topic!r} is one of Sluice's own topics: name another in the request"
            return self._dead_letter(record, "reply_topic_reserved", message, result)
        if not await self._exists(topic):
            message = (
                f"reply_topic {topic!r} doesn't exist: create it with `sluice topics apply`, then redrive"
            )
            return self._dead_letter(record, "reply_topic_missing", message, result)
        headers = tuple(record.headers)
        return Copy(topic, record.key, record.value, headers, record.timestamp, record=record, result=result)

    def refusal(self, copy: Copy, error: Exception) -> Copy:
        """The dead letter in place of a copy that its topic refused with `error`."""
        message = (
            f"reply_topic {copy.topic!r} refused this result ({type(error).__name__}: {error}): mend the topic's "
            "settings (max.message.bytes, timestamps, compaction) or the relay's right to write, then redrive"
        )
        return self._dead_letter(copy.record, "reply_topic_refused", message, copy.result)

    async def _exists(self, topic: str) -> bool:
        """Whether the topic exists. A send to one that doesn't would block, also where it was deleted lately."""
        known, age_ms = topic in self._topics, (time.monotonic() - self._topics_at) * 1000
        if age_ms >= (self._settings.topics_age_ms if known else self._settings.topics_every_ms):
            try:
                self._topics, self._topics_at = await self._ask(), time.monotonic()
            except KafkaError as error:
                if not known:
                    raise
                log.warning("the list of topics can't be read, the last one holds: %s", error)
        return topic in self._topics

    def _dead_letter(
        self, record: Any, reason: str, message: str, result: ResultEvent | None, days: int | None = None
    ) -> Copy:
        letter = dead_letter(
            inbound_of(record),
            stage="relay",
            reason=reason,
            message=message,
            at=self._now_ms(),
            claimed_tenant=result.tenant if result else None,
            request_id=result.request_id if result else None,
            retention_days=result.retention_days if result else days,
        )
        log.warning("%s: %s", letter.id, message)
        value = self._codec.encode(letter, names.DEAD_LETTERS)
        return Copy(self._settings.dead_letters, letter.id.encode(), value, (), None, refused=reason)
