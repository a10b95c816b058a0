"""One decision in the making: the events to write and the changes to apply, all or none of them."""

from typing import Final

import msgspec

from processors.budget import Hold, Settlement
from processors.route.changes import Change, Progress, Remembered, RequestGone, RequestPut
from processors.route.dedupe import HOUR_MS
from processors.route.emit import Emit
from processors.route.open_request import FINAL, Echo, OpenRequest, due_of, pack
from processors.route.segment import Entry
from processors.route.state import State
from schemas import ids, names
from schemas.audit_chain import digest
from schemas.records import AuditEvent, CallTask, DeadLetter, ResultEvent, UsageEvent

STAGE: Final = "route"
Headers = tuple[tuple[str, bytes], ...]


class Draft:
    """Collects emits, changes and what the budget must be told, against a state that it only reads.

    `now` is the decision's time, ms.
    """

    def __init__(self, state: State, partition: int, now: int, cap: int, retention_ms: int) -> None:
        self.state = state
        self.partition = partition
        self.now = now
        self.retention_ms = retention_ms
        self.emits: list[Emit] = []
        self.changes: list[Change] = []
        self.settlements: list[Settlement] = []
        self.holds: list[Hold] = []
        self.cap = cap
        self._accepted = state.progress.accepted
        self._terminal = state.progress.terminal
        self._sequence = state.progress.sequence
        self._head = state.progress.head

    def finish(self) -> list[Change]:
        """The changes to apply, the counters' among them where they moved."""
        progress = Progress(self._accepted, self._terminal, self._sequence, self._head)
        if progress != self.state.progress:
            self.changes.append(progress)
        return self.changes

    def count_accepted(self) -> None:
        self._accepted += 1

    def remember(self, entry: Entry, at_ms: int, is_request: bool = False) -> None:
        """Add an entry to the dedupe memory, in the segment of its time."""
        segment = self.state.dedupe.place(at_ms, self.cap)
        self.changes.append(Remembered(segment, entry, at_ms if is_request else 0))

    def keep(self, key: bytes, record: OpenRequest, expire_at: int | None = None) -> None:
        """Keep a request until it expires (None: the time set before), once final until its attempts may be
        forgotten; or let it go where they are all settled."""
        if record.status != FINAL:
            due = due_of(self.state.requests[key]) if expire_at is None else expire_at
            self.changes.append(RequestPut(key, pack(record, due)))
        elif record.reservations:
            # Never at once: the outcome of an attempt that runs is on its way.
            forget_at = max(self.now + HOUR_MS, record.accepted_at + self.retention_ms)
            self.changes.append(RequestPut(key, pack(record, forget_at)))
        elif key in self.state.requests:
            self.changes.append(RequestGone(key))

    def call(self, task: CallTask) -> None:
        """Order an attempt."""
        topic = names.calls_topic(task.model, task.lane)
        headers = (
            (names.HEADER_TENANT, task.tenant.encode()),
            (names.HEADER_REQUEST_ID, task.request_id.encode()),
        )
        self.emits.append(Emit(topic, task, task.request_id.encode(), headers))

    def result(self, event: ResultEvent) -> None:
        """Publish a terminal result or a notice."""
        if event.kind == "terminal":
            self._terminal += 1
        headers = _headers(event, event.status, event.kind)
        if event.traceparent:
            headers += ((names.HEADER_TRACEPARENT, event.traceparent.encode()),)
        self.emits.append(Emit(names.RESULTS, event, event.tenant.encode(), headers))

    def usage(self, event: UsageEvent) -> None:
        """Publish what an attempt used."""
        kind = "correction" if event.corrects else "usage"
        headers = _headers(event, event.status, kind)
        self.emits.append(Emit(names.USAGE, event, event.tenant.encode(), headers))

    def dead_letter(self, letter: DeadLetter) -> None:
        """Put an event aside for an operator."""
        self.emits.append(Emit(names.DEAD_LETTERS, letter, letter.id.encode()))

    def audit(self, event: AuditEvent) -> None:
        """Publish a decision as the next link of the partition's chain."""
        self._sequence += 1
        event.sequence = self._sequence
        event.previous_hash = self._head
        self._head = digest(event)
        headers = _headers(event, event.status or "", event.action)
        self.emits.append(Emit(names.AUDIT, event, event.tenant.encode(), headers))

    def audit_request(
        self,
        action: str,
        record: OpenRequest,
        *,
        attempt: int | None = None,
        model: str | None = None,
        status: str | None = None,
        reason: str | None = None,
        actor: str = STAGE,
        details: dict[str, object] | None = None,
        mark: str = "",
    ) -> None:
        """Audit a decision. `model`: else the last attempt's. `mark` tells apart events of one action and attempt."""
        event = AuditEvent(
            event_id=ids.event_id(record.tenant, record.request_id, f"audit.{action}{mark}", attempt or 0),
            tenant=record.tenant,
            action=action,
            actor=actor,
            at=self.now,
            config_version=record.config_version,
            sequence=0,
            previous_hash=b"",
            request_id=record.request_id,
            attempt=attempt,
            model=model or record.model,
            status=status,
            reason=reason,
            details=json_text(details),
            accepted_at=record.accepted_at,
            lane=record.lane,
            task_type=record.task_type,
            application=record.echo.application,
            user=record.echo.user,
            session_id=record.session_id,
            purpose=record.echo.purpose,
            data_classes=record.echo.data_classes,
            metadata=record.echo.metadata,
        )
        self.audit(event)


def json_text(details: dict[str, object] | None) -> str:
    """Details of an audit event as a JSON text."""
    return msgspec.json.encode(details).decode() if details else "{}"


def _headers(event: ResultEvent | UsageEvent | AuditEvent, status: str, kind: str) -> Headers:
    return (
        (names.HEADER_TENANT, event.tenant.encode()),
        (names.HEADER_APPLICATION, (event.application or "").encode()),
        (names.HEADER_REQUEST_ID, (event.request_id or "").encode()),
        (names.HEADER_STATUS, status.encode()),
        (names.HEADER_KIND, kind.encode()),
        (names.HEADER_EVENT_ID, event.event_id.encode()),
    )


def result_of(record: OpenRequest, kind: str, status: str, event_id: str, now: int) -> ResultEvent:
    """A result of a request with every field that it echoes."""
    echo: Echo = record.echo
    return ResultEvent(
        event_id=event_id,
        kind=kind,
        request_id=record.request_id,
        tenant=record.tenant,
        status=status,
        config_version=record.config_version,
        accepted_at=record.accepted_at,
        completed_at=now,
        attempts=record.attempt,
        lane=record.lane,
        task_type=record.task_type,
        application=echo.application,
        user=echo.user,
        session_id=record.session_id,
        purpose=echo.purpose,
        data_classes=echo.data_classes,
        tags=echo.tags,
        workflow_name=echo.workflow_name,
        workflow_id=echo.workflow_id,
        workflow_step=echo.workflow_step,
        parent_request_id=echo.parent_request_id,
        experiment_key=echo.experiment_key,
        traceparent=record.traceparent,
        reply_topic=echo.reply_topic,
        metadata=echo.metadata,
    )
