"""Committing the marks of a model's partitions, each with the journal offset that a new owner needs."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from streams import metrics
from streams.crash import crash_point
from streams.services.call.item import Owned
from streams.services.call.journal import Journal
from streams.services.call.watermark import encode_note

_EVERY_S: Final = 0.2
# An unmoved mark is committed again when its replay has become shorter by so many journal records.
_REPLAY_STEP: Final = 1_000
_GROUP_CHANGES = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
_log = logging.getLogger(__name__)


class Commits:
    """Commits what changed, five times a second. A lost commit costs a longer replay and nothing else."""

    def __init__(
        self,
        model_id: str,
        consumer: AIOKafkaConsumer,
        journal: Journal,
        owned: Callable[[], Mapping[TopicPartition, Owned]],
    ) -> None:
        self._model_id, self._consumer, self._journal, self._owned = model_id, consumer, journal, owned

    async def run(self) -> None:
        """Commit for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.now()

    async def now(self) -> None:
        """Commit what is due. Raises KafkaError where that can never succeed."""
        due = self._due()
        if not due:
            return
        offsets = {o.tp: OffsetAndMetadata(mark, encode_note(replay)) for o, (mark, replay) in due.items()}
        try:
            await self._consumer.commit(offsets)
        except _GROUP_CHANGES as error:
            _log.info("%s: marks not committed, as the group changes (%r)", self._model_id, error)
            return
        except KafkaError as error:
            if not error.retriable:
                raise
            _log.warning("%s: marks not committed yet (%r)", self._model_id, error)
            return
        for owned, committed in due.items():
            owned.committed = committed
        crash_point("call.after_commit")

    def _due(self) -> dict[Owned, tuple[int, int]]:
        due: dict[Owned, tuple[int, int]] = {}
        for owned in self._owned().values():
            if owned.mark is None:
                continue
            metrics.CALL_ABOVE_MARK.labels(owned.tp.topic).set(owned.mark.above)
            mark = owned.mark.mark
            replay = owned.mark.replay_from(self._journal.end(owned.journal_partition))
            before = owned.committed
            if before is None or mark != before[0] or replay - before[1] > _REPLAY_STEP:
                due[owned] = mark, replay
        return due
