"""Records to bytes and back: Confluent's wire format and Avro's single-object encoding.

    Confluent wire format    00        + 4-byte schema id, big endian          + Avro body
    single-object encoding   C3 01     + 8-byte CRC-64-AVRO, little endian     + Avro body

Encoding uses the first with a registry and the second without one; decoding takes either. Bodies of our own
schemas are written and read by functions that `schemas.compiled` makes of them; fastavro reads those of others.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, Final, TypeVar

import fastavro
import msgspec

from schemas import logical
from schemas.compiled.decode import Read, reader
from schemas.compiled.encode import MISFITS, Write, writer
from schemas.compiled.misfit import misfit
from schemas.records import type_names
from schemas.registry import RegistryUnreachable, SchemaStore, UnknownSchemaId, Writer, subject_of
from schemas.signals import Invalid

T = TypeVar("T", bound=msgspec.Struct)

_CONFLUENT: Final = 0x00
_SINGLE_OBJECT: Final = b"\xc3\x01"
_BACKOFF_S: Final = (0.2, 5.0)
_Frame = tuple[Writer, int, Read | None]
"""The schema that an event names, where its body starts, and what reads it where the schema is our own."""

_log = logging.getLogger(__name__)
_names: Final = {record_type: name for name, record_type in type_names.items()}


class Codec:
    """Encodes and decodes the records of `schemas.records` over a store of schemas. One a process.

    `on_wait` is called for each failed try to reach the registry, for a metric; `sleep` is for tests.
    """

    def __init__(
        self,
        store: SchemaStore,
        on_wait: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.store = store
        self._on_wait = on_wait
        self._sleep = sleep
        self._frames: dict[bytes, _Frame] = {}
        self._encoders: dict[tuple[type[msgspec.Struct], str | None], tuple[bytes, Write]] = {}

    def encode(self, record: msgspec.Struct, subject_topic: str | None = None) -> bytes:
        """The bytes of `record` for topic `subject_topic` (None: its own record name is the subject).

        Raises LookupError where a registry is configured and doesn't hold the subject (`lookup_all` first),
        ValueError or TypeError where a value doesn't fit the schema.
        """
        record_type = type(record)
        encoder = self._encoders.get((record_type, subject_topic))
        if encoder is None:
            encoder = self._encoder(record_type, subject_topic)
        prefix, write = encoder
        out = [prefix]
        try:
            write(record, out)
        except MISFITS as error:
            raise misfit(record) from error
        return b"".join(out)

    def decode(self, data: bytes | None, expected: type[T] | tuple[type[T], ...]) -> T:
        """The record in `data`, which must be one of `expected`.

        Raises Invalid (null_value, undecodable, unknown_schema, unexpected_type), or UnknownSchemaId where
        the schema must be fetched into the store first.
        """
        if data is None:
            raise Invalid("null_value", "the event has no value: publish an Avro record")
        frame = self._frames.get(data[:5]) or self._frames.get(data[:10]) or self._frame(data)
        writer, start, read = frame
        record_type = writer.record_type
        if record_type is not expected and (not isinstance(expected, tuple) or record_type not in expected):
            raise _unexpected(writer, expected)
        record: T
        try:
            if read is None:
                record, end = _read_other(data, start, writer)
            else:
                left = [logical.MAX_RECORDS - 1]
                record, end = read(data, start, left)
                if end > len(data):
                    raise IndexError
                if left[0] < 0:
                    raise logical.TooManyRecords
        except Exception as error:
            # Hostile bytes make a reader raise what it stumbles over: IndexError, EOFError, UnicodeError ...
            raise _undecodable(writer, error) from error
        if end != len(data):
            raise Invalid("undecodable", f"{len(data) - end} bytes follow the end of the {writer.name}")
        return record

    async def decode_async(self, data: bytes | None, expected: type[T] | tuple[type[T], ...]) -> T:
        """Like `decode`, but fetches an unknown schema; waits for ever for an unreachable registry."""
        try:
            return self.decode(data, expected)
        except UnknownSchemaId as unknown:
            await self._fetch(unknown.schema_id)
        return self.decode(data, expected)

    async def _fetch(self, schema_id: int) -> None:
        wait, longest = _BACKOFF_S
        while True:
            try:
                return await self.store.fetch(schema_id)
            except RegistryUnreachable as error:
                _log.warning("schema id %d waits: %s; next try in %.1f s", schema_id, error, wait)
                self._on_wait()
            await self._sleep(wait)
            wait = min(wait * 2, longest)

    def _frame(self, data: bytes) -> _Frame:
        """What the first bytes of `data` say; kept by these bytes, since the schema of an id never changes."""
        if len(data) >= 5 and data[0] == _CONFLUENT:
            writer, start = self.store.by_id(int.from_bytes(data[1:5], "big")), 5
        elif len(data) >= 10 and data[:2] == _SINGLE_OBJECT:
            writer, start = self.store.by_fingerprint(data[2:10]), 10
        else:
            raise Invalid("undecodable", _unframed(data))
        own = writer.reader is None and writer.record_type
        frame = writer, start, reader(own) if own else None
        self._frames[data[:start]] = frame
        return frame

    def _encoder(self, record_type: type[msgspec.Struct], topic: str | None) -> tuple[bytes, Write]:
        """What comes before the bodies of these records on `topic`, and what writes the bodies."""
        encoder = self._prefix(_names[record_type], topic), writer(record_type)
        self._encoders[record_type, topic] = encoder
        return encoder

    def _prefix(self, name: str, topic: str | None) -> bytes:
        if self.store.registry is None:
            return _SINGLE_OBJECT + self.store.fingerprints[name]
        subject = name if topic is None else subject_of(topic, name)
        try:
            schema_id = self.store.subject_ids[subject]
        except KeyError:
            message = f"no schema id is known for subject {subject}: look the subjects up first"
            raise LookupError(message) from None
        return bytes([_CONFLUENT]) + schema_id.to_bytes(4, "big")


def _read_other(data: bytes, start: int, writer: Writer) -> tuple[Any, int]:
    """The record of bytes that another schema wrote, as our own reads it, and where they end."""
    body = BytesIO(data)
    body.seek(start)
    logical.start_event()
    values = fastavro.schemaless_reader(body, writer.schema, writer.reader)
    return msgspec.convert(values, writer.record_type), body.tell()


def _undecodable(writer: Writer, error: Exception) -> Invalid:
    early = writer.reader is None and isinstance(error, IndexError | struct.error)
    why = "they end too early" if early else f"{type(error).__name__}: {error}"
    message = f"the bytes are not a {writer.name} as their schema says ({why})"
    return Invalid("undecodable", message[:500])


def _unexpected(writer: Writer, expected: type[Any] | tuple[type[Any], ...]) -> Invalid:
    wanted = expected if isinstance(expected, tuple) else (expected,)
    accepted = " or ".join(_names[t] for t in wanted)
    return Invalid("unexpected_type", f"the event is a {writer.name}; this topic takes {accepted}")


def _unframed(data: bytes) -> str:
    begin = data[:5].hex(" ") or "nothing"
    seen = "it looks like JSON" if data[:1] in (b"{", b"[") else f"it begins with {begin}"
    return (
        f"{len(data)} bytes that are neither Confluent's wire format (00 and a 4-byte schema id) nor Avro's "
        f"single-object encoding (c3 01 and a fingerprint); {seen}: publish with an Avro serializer"
    )
