"""A dead letter holds its original as far as it can, and says so where it can't hold all of it."""

import pytest

from schemas import names
from schemas.codec import Codec
from schemas.letters import truncated
from schemas.records import DeadLetter, Header
from schemas.registry import SchemaStore
from streams.cli import redrive
from streams.cli.failure import Refused
from streams.dead_letters import dead_letter
from streams.outbox.contract import Inbound

CODEC = Codec(SchemaStore())
_HEADERS = (("a", b"1"), ("b", b"2"))


def letter(
    value: bytes = b"v", key: bytes = b"k", headers: tuple[tuple[str, bytes], ...] = _HEADERS
) -> DeadLetter:
    inbound = Inbound(names.REQUESTS, 3, 17, 5, key, value, headers)
    return dead_letter(inbound, stage="classify", reason="undecodable", message="not Avro", at=6)


@pytest.mark.parametrize(
    ("cut", "told"),
    [
        (letter(value=b"x" * (4 << 20 | 1)), "value"),
        (letter(key=b"x" * (64 << 10 | 1)), "key"),
        (letter(headers=(("a", b"x" * (256 << 10)),)), "headers"),
        (letter(value=b"x" * (5 << 20), key=b"x" * (65 << 10)), "value, key"),
    ],
)
async def test_what_was_cut_is_marked_and_never_sent_again(cut: DeadLetter, told: str) -> None:
    assert truncated(CODEC.decode(CODEC.encode(cut), DeadLetter)) == told
    with pytest.raises(Refused, match=f"doesn't hold the original's {told} whole") as refused:
        await redrive._original(CODEC, cut)
    assert "llm.requests, partition 3, offset 17" in (refused.value.hint or "")
    assert "kept: " in cut.message


async def test_a_whole_letter_is_sent_again_as_it_was() -> None:
    whole = letter(value=b"x" * (4 << 20))
    assert truncated(whole) is None
    again = await redrive._original(CODEC, whole)
    assert (again.topic, again.key, again.value) == (names.REQUESTS, b"k", whole.value)
    assert again.headers[:2] == _HEADERS


def test_the_mark_stands_beside_the_headers_that_were_kept() -> None:
    marked = letter(value=b"x" * (5 << 20))
    expected = (*_HEADERS, (names.LETTER_TRUNCATED, b"value"))
    assert marked.headers == [Header(key=k, value=v) for k, v in expected]
