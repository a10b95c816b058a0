"""The parser of server-sent events."""

import time

import pytest

from processors.providers.sse import SseParser, TooLong


def feed(parser: SseParser, *pieces: bytes) -> list[bytes]:
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_end_with_a_blank_line(end: bytes) -> None:
    parser = SseParser()
    stream = end.join([b"data: one", b"", b": comment", b"event: x", b"data:two", b"data: lines", b"", b""])
    assert feed(parser, stream) + parser.close() == [b"one", b"two\nlines"]


def test_what_has_no_blank_line_comes_at_the_end() -> None:
    parser = SseParser()
    assert feed(parser, b"data: one\n\ndata: [DONE]\n") == [b"one"]
    assert parser.close() == [b"[DONE]"]


def test_half_a_line_is_never_an_event() -> None:
    parser = SseParser()
    assert feed(parser, b'data: {"half') == []
    assert parser.close() == []


def test_a_line_end_split_between_two_reads_is_one_line_end() -> None:
    parser = SseParser()
    assert feed(parser, b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


@pytest.mark.parametrize("pieces", [[b"data: " + b"x" * 200], [b"data: x\n"] * 100, [b"data:\n"] * 100])
def test_an_event_without_end_is_bounded(pieces: list[bytes]) -> None:
    parser = SseParser(most=50)
    with pytest.raises(TooLong, match="longer than 50 bytes"):
        feed(parser, *pieces)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_stream_may_be_split_anywhere(end: bytes, size: int) -> None:
    parser = SseParser()
    stream = end.join(
        [b"data: first", b"data:", b"data: " + b"x" * 50, b": no", b"", b"data: last", b"", b""]
    )
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert feed(parser, *pieces) + parser.close() == [b"first\n\n" + b"x" * 50, b"last"]


def test_a_long_line_in_many_pieces_takes_no_longer_than_in_few() -> None:
    parser, began = SseParser(), time.process_time()
    events = feed(parser, b"data: ", *[b"x" * 1400] * 5000, b"\n\n")
    assert len(events[0]) == 7_000_000 and time.process_time() - began < 1.0
    with pytest.raises(TooLong):
        feed(parser, b"data: ", *[b"x" * 1400] * 6000)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"event: x\ndata: a\n\nevent: y\ndata: b\n\n", [b"a", b"b"]),
        (b"event: x\ndata: a\ndata: b\n\n", [b"a\nb"]),
        (b"event: x\nid: 1\ndata: a\n\nevent: y\n\n", [b"a"]),
        (b"event: x\n\nevent: y\ndata: b\nretry: 1\n\n", [b"b"]),
        (b"data: a\nid: 1\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n\n: ping\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n\nevent: y\ndata: b\n\n", [b"a", b"b"]),
    ],
)
def test_events_of_every_form_in_one_read(stream: bytes, expected: list[bytes]) -> None:
    """The usual forms are cut apart at once; nothing else may be taken for one of them."""
    assert feed(SseParser(), stream) == expected
