"""The audit trail as a hash chain."""

from collections.abc import Callable

import msgspec
import pytest

from schemas.audit_chain import digest, verify
from schemas.records import AuditEvent
from tests.unit.route.world import World, control, outcome, records_of


@pytest.fixture
def chain() -> list[AuditEvent]:
    world = World()
    for number in range(5):
        world.feed(outcome(world.submit(f"r{number}", metadata={"b": "1", "a": "2"})))
    world.feed(control("pause", None, model="small"))
    return records_of(world.sent, AuditEvent)


def test_whole_chain_and_any_later_part_of_it_hold(chain: list[AuditEvent]) -> None:
    assert [event.sequence for event in chain] == list(range(1, 12))
    assert verify(chain) == verify(chain[4:]) == verify([]) == []


def test_digest_survives_another_encoding(chain: list[AuditEvent]) -> None:
    """Maps may come back in another order, and a field added later comes with its empty default."""
    for event in chain:
        copy = msgspec.convert(msgspec.to_builtins(event), AuditEvent)
        copy.metadata = dict(reversed(copy.metadata.items()))
        assert digest(copy) == digest(event)


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (lambda events: events.pop(3), "event 5 follows 3: one is missing or repeated"),
        (lambda events: events.insert(3, events[3]), "event 4 follows 4: one is missing or repeated"),
        (lambda events: setattr(events[3], "actor", "nobody"), "event 4 was changed: 5 carries another hash"),
        (lambda events: setattr(events[2], "details", "{}"), "event 3 was changed: 4 carries another hash"),
        (lambda events: setattr(events[0], "previous_hash", b"x"), "event 1 carries a previous hash"),
    ],
)
def test_tampering_shows(
    chain: list[AuditEvent], tamper: Callable[[list[AuditEvent]], object], fault: str
) -> None:
    tamper(chain)
    assert any(found.startswith(fault) for found in verify(chain))
