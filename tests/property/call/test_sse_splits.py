"""However a stream is cut into reads, the same events come out."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from processors.providers.sse import SseParser

LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data: ", b": ping", b"event: x", b"", b"", b"id: 1", b'data: {"x":1}']
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def events(pieces: list[bytes]) -> list[bytes]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close()


@given(st.lists(st.tuples(LINES, ENDS), max_size=30), st.lists(st.integers(0, 400), max_size=20))
def test_splits_change_nothing(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(line + end for line, end in lines)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    single = [stream[i : i + 1] for i in range(len(stream))]
    assert events(pieces) == events([stream]) == events(single)
