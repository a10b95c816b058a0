"""What a handle makes of the deltas of its request."""

import asyncio

import pytest

from schemas.records import DeltaEvent
from streams.client_handle import Handle, Pieces, ReadFailed


def delta(
    attempt: int, sequence: int, text: str = "", kind: str = "text", status: str | None = None
) -> DeltaEvent:
    return DeltaEvent(
        request_id="r", tenant="t", attempt=attempt, attempt_id="a", sequence=sequence, kind=kind, at=0, text=text,
        status=status,
    )  # fmt: skip


async def read(*events: DeltaEvent, close: bool = True) -> list[str]:
    pieces = Pieces()
    for event in events:
        pieces.take(event)
    if close:
        pieces.close()
    async with asyncio.timeout(5):
        return [event.text async for event in pieces.read()]


async def test_each_piece_comes_once_and_in_order() -> None:
    events = [delta(1, 0, "a"), delta(1, 1, "b"), delta(1, 0, "a"), delta(1, 1, "b"), delta(1, 2, "c")]
    assert await read(*events) == ["a", "b", "c"]


async def test_a_later_attempt_replaces_what_came_before() -> None:
    """Also where the earlier one, of a worker that stood still, goes on."""
    events = [delta(1, 0, "a"), delta(2, 0, "x"), delta(1, 1, "b"), delta(2, 1, "y")]
    assert await read(*events) == ["x", "y"]


async def test_the_marker_of_a_success_ends_them() -> None:
    end = delta(1, 1, kind="end", status="succeeded")
    assert await read(delta(1, 0, "a"), end, delta(1, 2, "late"), close=False) == ["a"]


async def test_after_a_failed_attempt_they_go_on_until_the_result() -> None:
    pieces, seen = Pieces(), list[str]()

    async def collect() -> None:
        async for event in pieces.read():
            seen.append(event.text)

    reading = asyncio.create_task(collect())
    for event in (delta(1, 0, "a"), delta(1, 1, kind="end", status="failed")):
        pieces.take(event)
        await asyncio.sleep(0)
    assert not reading.done()
    pieces.take(delta(2, 0, "b"))
    await asyncio.sleep(0)
    pieces.close()
    await reading
    assert seen == ["a", "b"]


async def test_a_request_that_asked_for_none_has_none() -> None:
    handle = Handle(None, "t", "r", None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stream_deltas"):
        _ = [event async for event in handle.deltas()]


async def test_where_the_result_is_there_already_nothing_is_waited_for() -> None:
    """It may come while the reply topic is looked for."""
    handle = Handle(None, "t", "r", None)  # type: ignore[arg-type]
    handle._end(None, ReadFailed("gone"))
    handle._take_deltas()
    async with asyncio.timeout(5):
        assert [event async for event in handle.deltas()] == []
