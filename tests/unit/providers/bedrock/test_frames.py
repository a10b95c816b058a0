"""The parser of event streams, beside botocore's."""

import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer

from processors.providers.bedrock.eventstream import BrokenFrame, FrameParser, Head
from tests.unit.providers.bedrock.shapes import frame, stream


def built(headers: bytes, payload: bytes = b"{}") -> bytes:
    """A frame with these headers, whatever they are."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("name", ["text", "reasoning_and_tools", "system_tool"])
def test_botocore_reads_the_same(name: str) -> None:
    theirs = EventStreamBuffer()
    theirs.add_data(stream(name))
    ours = FrameParser().feed(stream(name))
    assert [(h.name, h.kind, p) for h, p in ours] == [
        (message.headers[":event-type"], message.headers[":message-type"], message.payload)
        for message in theirs
    ]


def test_byte_by_byte() -> None:
    parser, data = FrameParser(), stream("text")
    assert [f for i in range(len(data)) for f in parser.feed(data[i : i + 1])] == FrameParser().feed(data)


def test_exceptions_and_errors() -> None:
    [(head, _)] = FrameParser().feed(frame("throttlingException", b"{}", "exception"))
    assert head == Head("exception", "throttlingException")
    told = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "went wrong"}
    headers = b"".join(
        bytes([len(k)]) + k.encode() + b"\x07" + struct.pack(">H", len(v)) + v.encode()
        for k, v in told.items()
    )
    [(head, payload)] = FrameParser().feed(built(headers, b""))
    assert head == Head("error", "InternalFailure", "went wrong") and payload == b""


def test_headers_of_every_type_are_passed_over() -> None:
    values = [
        b"\x00", b"\x01", b"\x02x", b"\x03xx", b"\x04xxxx", b"\x05" + b"x" * 8, b"\x06\x00\x02xx",
        b"\x08" + b"x" * 8, b"\x09" + b"x" * 16,
    ]  # fmt: skip
    headers = b"".join(b"\x01" + bytes([97 + n]) + value for n, value in enumerate(values))
    kind = b"\x0b:event-type\x07\x00\x01e"
    data = built(headers + kind)
    assert FrameParser().feed(data) == [(Head("event", "e"), b"{}")]
    theirs = EventStreamBuffer()
    theirs.add_data(data)
    assert next(theirs).headers[":event-type"] == "e"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"x" * 12, "beginning"),
        (frame("a", b"{}")[:-4] + b"none", "checksum of a frame doesn't"),
        (frame("a", b"{}").replace(b"{}", b"[]"), "checksum of a frame doesn't"),
        (struct.pack(">III", 12, 0, zlib.crc32(struct.pack(">II", 12, 0))), "shorter"),
        (struct.pack(">III", 1 << 31, 0, zlib.crc32(struct.pack(">II", 1 << 31, 0))), "longer than"),
        (built(b"\x05:even"), "can't be read"),
        (built(b"\x01a\x63"), "can't be read"),
        (built(b"\x01a\x07\x00\xffx"), "longer than the headers"),
        (built(b"\x01\xff\x07\x00\x01x"), "can't be read"),
    ],
)
def test_what_is_broken_is_told(data: bytes, told: str) -> None:
    with pytest.raises(BrokenFrame, match=told):
        FrameParser().feed(data)
