"""Deterministic ids: the same event made again after a crash carries the same id, so that readers dedupe."""

import uuid
from typing import Final

_NAMESPACE: Final = uuid.UUID("8f0f5a52-6a0b-5b0e-9b6c-51ce51ce51ce")


def request_id_of(topic: str, partition: int, offset: int) -> str:
    """The id of a request that came without one, from where it lies."""
    return str(uuid.uuid5(_NAMESPACE, f"request\x1f{topic}\x1f{partition}\x1f{offset}"))


def attempt_id(tenant: str, request_id: str, attempt: int) -> str:
    """The id of attempt number `attempt` (from 1) of a request."""
    return str(uuid.uuid5(_NAMESPACE, f"attempt\x1f{tenant}\x1f{request_id}\x1f{attempt}"))


def event_id(tenant: str, request_id: str, stage: str, attempt: int = 0, try_: int = 0, ordinal: int = 0) -> str:
    """The id of an event about a request: stage says what it tells, ordinal counts events of one stage and try."""
    name = f"event\x1f{tenant}\x1f{request_id}\x1f{stage}\x1f{attempt}\x1f{try_}\x1f{ordinal}"
    return str(uuid.uuid5(_NAMESPACE, name))


def dead_letter_id(topic: str, partition: int, offset: int) -> str:
    """The id of a dead letter: where its original lies."""
    return f"{topic}-{partition}-{offset}"
