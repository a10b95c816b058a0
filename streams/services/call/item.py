"""What the call service holds of one call task, and of the partition it came from."""

from dataclasses import dataclass, field

from aiokafka import TopicPartition

from processors.providers.pool import Target
from processors.providers.watch import Watch
from schemas.config import Config
from schemas.names import Lane
from schemas.records import Attempt, CallTask, ErrorInfo
from streams.services.call.takeover import Evidence
from streams.services.call.watermark import Watermark


@dataclass(slots=True, eq=False)
class Owned:
    """One call partition while this worker owns it; made anew with every generation.

    `alive`: this generation still holds. `mark` is None until the journal has been replayed.
    """

    tp: TopicPartition
    lane: Lane
    journal_partition: int
    alive: bool = True
    mark: Watermark | None = None
    evidence: dict[int, Evidence] = field(default_factory=dict)
    waiting: dict[int, "Item"] = field(default_factory=dict)
    committed: tuple[int, int] | None = None


@dataclass(slots=True, eq=False)
class Item:
    """One call task. `tries`: provider calls started; `ready_at`: not before (ms, 0 = now).

    `target`: where the last try went; `failed_at`: ids of targets that failed and that others may take the place of;
    `dropped`: parameters that the last try left out.
    """

    owned: Owned
    offset: int
    lane: Lane
    size: int
    task: CallTask
    config: Config
    tries: int = 0
    ready_at: int = 0
    must_end_by: int = 0
    started_at: int | None = None
    first_token_at: int | None = None
    target: Target | None = None
    failed_at: frozenset[str] = frozenset()
    dropped: tuple[str, ...] = ()
    last_error: ErrorInfo | None = None
    watch: Watch | None = None


def attempt_record(item: Item, phase: str, now_ms: int, worker: str) -> Attempt:
    """What the journal is told of the item's latest try."""
    owned, task, target = item.owned, item.task, item.target
    return Attempt(
        phase=phase,
        attempt_id=task.attempt_id,
        request_id=task.request_id,
        tenant=task.tenant,
        attempt=task.attempt,
        try_=item.tries,
        model=task.model,
        call_topic=owned.tp.topic,
        call_partition=owned.tp.partition,
        call_offset=item.offset,
        at=now_ms,
        must_end_by=item.must_end_by,
        worker=worker,
        deployment=target.deployment.id if target else None,
        key_name=target.key if target else None,
    )
