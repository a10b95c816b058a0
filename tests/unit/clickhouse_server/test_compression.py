"""Bodies in pieces, compressed and not."""

import bz2
import gzip
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.local.clickhouse_server.compression import Decoder, choose, encoder
from streams.local.clickhouse_server.errors import CANNOT_DECOMPRESS, NOT_IMPLEMENTED, EngineError


def unpack(encoding: str, pieces: list[bytes], most: int = 4 << 20) -> bytes:
    decoder, out = Decoder(encoding, most), b""
    for piece in pieces:
        decoder.feed(piece)
        while plain := decoder.read():
            assert encoding == "" or len(plain) <= most
            out += plain
    decoder.end()
    return out


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "lz4", "zstd"])
@given(pieces=st.lists(st.binary(max_size=300), max_size=8), size=st.integers(1, 50), most=st.integers(1, 100))
def test_packed_in_pieces_is_unpacked_in_others(encoding: str, pieces: list[bytes], size: int, most: int) -> None:
    packer = encoder(encoding or None)
    packed = b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])
    assert unpack(encoding, cut(packed, size), most) == b"".join(pieces)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd"])
def test_large_in_bounded_pieces(encoding: str) -> None:
    packer = encoder(encoding)
    packed = packer.compress(bytes(50 << 20)) + packer.flush()
    assert unpack(encoding, [packed], most=1 << 20) == bytes(50 << 20)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(b"a") + gzip.compress(b"b")), ("xz", lzma.compress(b"ab")), ("bz2", bz2.compress(b"ab"))],
    ids=["gzip", "xz", "bz2"],
)
def test_further_encodings_and_members(encoding: str, packed: bytes) -> None:
    assert unpack(encoding, cut(packed, 3)) == b"ab"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd", "xz", "bz2"])
def test_broken_and_cut_off(encoding: str) -> None:
    with pytest.raises(EngineError) as raised:
        unpack(encoding, [b"no such data, none at all, though it is long enough"])
    assert raised.value.code == CANNOT_DECOMPRESS
    if encoding in ("xz", "bz2"):
        return
    packer = encoder(encoding)
    packed = packer.compress(bytes(range(256)) * 10) + packer.flush()
    for end in (1, len(packed) // 2, len(packed) - 1):
        with pytest.raises(EngineError, match="too early"):
            unpack(encoding, [packed[:end]])


def test_unknown_encoding_says_what_is_known() -> None:
    with pytest.raises(EngineError, match=r"'snappy'.*gzip.*zstd") as raised:
        Decoder("snappy")
    assert raised.value.code == NOT_IMPLEMENTED


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("lz4,zstd,gzip", "lz4"),
        ("GZIP;q=0.5", "gzip"),
        ("lz4;q=0, gzip", "gzip"),
        ("br", None),
    ],
)
def test_choice(accepted: str, chosen: str | None) -> None:
    assert choose(accepted) == chosen
