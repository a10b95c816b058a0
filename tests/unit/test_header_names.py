"""A header name of any bytes is read, in plain and in compressed batches, and nothing beside it is lost."""

import gzip
import struct
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams import header_names

_HEADER = 61
_ATTRIBUTES = 21


def batch(first: int, count: int, wrong: int | None, compressed: bool) -> bytes:
    builder = DefaultRecordBatchBuilder(
        2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1 << 20
    )
    for n in range(count):
        name = "wrongly" if first + n == wrong else "rightly"
        builder.append(n, 1000, key=b"k%d" % (first + n), value=b"v", headers=[(name, b"x"), ("ok", None)])
    data = bytes(builder.build()).replace(b"wrongly", b"wr\xff\xfegly")
    body = gzip.compress(data[_HEADER:]) if compressed else data[_HEADER:]
    head = bytearray(data[:_HEADER])
    struct.pack_into(">q", head, 0, first)
    struct.pack_into(">i", head, 8, len(head) + len(body) - 12)
    struct.pack_into(">h", head, _ATTRIBUTES, 1 if compressed else 0)
    return bytes(head) + body


def read(data: bytes, start: int = 0) -> list[Any]:
    records = fetcher.PartitionRecords(
        TopicPartition("t", 0), fetcher.MemoryRecords(data), [], start, None, None, False, fetcher.READ_COMMITTED
    )
    return list(records)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("wrong", [0, 4, 6, 9])
def test_every_record_is_read_once(wrong: int, compressed: bool) -> None:
    assert header_names
    data = b"".join(batch(first, 5, wrong, compressed) for first in (0, 5))
    found = read(data)
    assert [(r.offset, r.key, r.value) for r in found] == [(n, b"k%d" % n, b"v") for n in range(10)]
    names = [r.headers[0][0] for r in found]
    assert names == ["wr\\xff\\xfegly" if n == wrong else "rightly" for n in range(10)]
    assert all(r.headers[1] == ("ok", None) for r in found)


def test_reading_begins_where_it_was_asked_to() -> None:
    data = batch(0, 5, 3, compressed=False)
    assert [r.offset for r in read(data, start=2)] == [2, 3, 4]
