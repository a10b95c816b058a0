"""What is ordered and kept beside the requests: commands, audit trail, attempt journal, dead letters."""

import msgspec

from schemas.records.parts import Header
from schemas.records.requests import CallTask


class Control(msgspec.Struct, kw_only=True):
    event_id: str
    command: str
    at: int
    actor: str
    tenant: str | None = None
    request_id: str | None = None
    model: str | None = None
    reason: str | None = None
    dead_letter_id: str | None = None
    resolution: str | None = None
    task: CallTask | None = None
    user: str | None = None


class AuditEvent(msgspec.Struct, kw_only=True):
    event_id: str
    tenant: str
    action: str
    actor: str
    at: int
    config_version: str
    sequence: int
    previous_hash: bytes
    request_id: str | None = None
    attempt: int | None = None
    model: str | None = None
    status: str | None = None
    reason: str | None = None
    details: str = "{}"
    accepted_at: int | None = None
    lane: str | None = None
    task_type: str | None = None
    application: str | None = None
    user: str | None = None
    session_id: str | None = None
    purpose: str | None = None
    data_classes: list[str] = []
    metadata: dict[str, str] = {}


class Attempt(msgspec.Struct, kw_only=True):
    """A record of the attempt journal (`llm.attempts`)."""

    phase: str
    attempt_id: str
    request_id: str
    tenant: str
    attempt: int
    try_: int = msgspec.field(name="try")
    model: str
    call_topic: str
    call_partition: int
    call_offset: int
    at: int
    must_end_by: int
    worker: str
    deployment: str | None = None
    format_version: int = 1
    key_name: str | None = None


class DeadLetter(msgspec.Struct, kw_only=True):
    id: str
    kind: str
    stage: str
    reason: str
    message: str
    at: int
    source_topic: str
    source_partition: int
    source_offset: int
    source_timestamp: int
    key: bytes | None = None
    value: bytes | None = None
    headers: list[Header] = []
    claimed_tenant: str | None = None
    request_id: str | None = None
    retention_days: int | None = None
