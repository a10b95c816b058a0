"""Digests are kept in the trail for ever: how they are made must not change."""

from schemas.audit_chain import digest
from schemas.records import AuditEvent


def test_digests_are_those_of_the_first_version() -> None:
    full = AuditEvent(
        event_id="e1", tenant="acme", action="request.accepted", actor="route", at=1_790_000_000_000,
        config_version="v1", sequence=7, previous_hash=b"\x01\xff", request_id="r1", attempt=1, status="succeeded",
        details='{"a":1}', application="é", data_classes=["pii", "card"], metadata={"b": "2", "a": "1"},
    )  # fmt: skip
    bare = AuditEvent(
        event_id="", tenant="acme", action="a", actor="", at=0, config_version="v1", sequence=1,
        previous_hash=b"", attempt=0,
    )  # fmt: skip
    assert digest(full).hex() == "3d83bbc72bac21608b689bd319655b512478cc39192f3fa1a997e28f9a41239f"
    assert digest(bare).hex() == "c92090d4af650aa86a13af1e305cc073e775a8a84fd127ea460fec074227cd4b"
