"""Ids are plain UUIDv5: anyone can make them again from the documented names."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from schemas import ids

NAMESPACE = uuid.UUID("8f0f5a52-6a0b-5b0e-9b6c-51ce51ce51ce")


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 99))
def test_attempt_id_is_a_uuid5(tenant: str, request_id: str, attempt: int) -> None:
    name = f"attempt\x1f{tenant}\x1f{request_id}\x1f{attempt}"
    assert ids.attempt_id(tenant, request_id, attempt) == str(uuid.uuid5(NAMESPACE, name))


def test_every_kind_of_event_has_an_id_of_its_own() -> None:
    made = {
        ids.request_id_of("llm.requests", 1, 2),
        ids.attempt_id("t", "r", 1),
        ids.event_id("t", "r", "outcome", 1),
        ids.event_id("t", "r", "outcome", 1, 1),
        ids.event_id("t", "r", "outcome", 1, 1, 1),
        ids.event_id("t", "r", "usage", 1, 1, 1),
    }
    assert len(made) == 6
    assert ids.dead_letter_id("llm.requests", 3, 14) == "llm.requests-3-14"
