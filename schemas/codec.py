"""Records to bytes and back: Confluent's wire format and Avro's single-object encoding.

    Confluent wire format    00        + 4-byte schema id, big endian          + Avro body
    single-object encoding   C3 01     + 8-byte CRC-64-AVRO, little endian     + Avro body

Encoding uses the first with a registry and the second without one; decoding takes either.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from decimal import Decimal
from io import BytesIO
from typing import Final, TypeVar

import fastavro
import msgspec

from schemas import logical
from schemas.records import type_names
from schemas.registry import RegistryUnreachable, SchemaStore, UnknownSchemaId, Writer, subject_of
from schemas.signals import Invalid

T = TypeVar("T", bound=msgspec.Struct)

_CONFLUENT: Final = 0x00
_SINGLE_OBJECT: Final = b"\xc3\x01"
_BUILTIN: Final = (bytes, Decimal)
_BACKOFF_S: Final = (0.2, 5.0)
_log = logging.getLogger(__name__)
_read = fastavro.schemaless_reader
_write = fastavro.schemaless_writer
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
        self._prefixes: dict[tuple[type[msgspec.Struct], str | None], bytes] = {}

    def encode(self, record: msgspec.Struct, subject_topic: str | None = None) -> bytes:
        """The bytes of `record` for topic `subject_topic` (None: its own record name is the subject).

        Raises LookupError where a registry is configured and doesn't hold the subject (`lookup_all` first),
        ValueError or TypeError where a value doesn't fit the schema.
        """
        record_type = type(record)
        prefix = self._prefixes.get((record_type, subject_topic))
        if prefix is None:
            prefix = self._prefix(record_type, subject_topic)
        out = BytesIO()
        out.write(prefix)
        schema = self.store.readers[_names[record_type]]
        _write(out, schema, msgspec.to_builtins(record, builtin_types=_BUILTIN))
        return out.getvalue()

    def decode(self, data: bytes | None, expected: type[T] | tuple[type[T], ...]) -> T:
        """The record in `data`, which must be one of `expected`.

        Raises Invalid (null_value, undecodable, unknown_schema, unexpected_type), or UnknownSchemaId where
        the schema must be fetched into the store first.
        """
        if data is None:
            raise Invalid("null_value", "the event has no value: publish an Avro record")
        writer, start = self._writer(data)
        record_type = writer.record_type
        if record_type is not expected and (not isinstance(expected, tuple) or record_type not in expected):
            wanted = expected if isinstance(expected, tuple) else (expected,)
            accepted = " or ".join(_names[t] for t in wanted)
            raise Invalid("unexpected_type", f"the event is a {writer.name}; this topic takes {accepted}")
        body = BytesIO(data)
        body.seek(start)
        logical.start_event()
        try:
            values = _read(body, writer.schema, writer.reader)
            record: T = msgspec.convert(values, record_type)
        except Exception as error:
            # Hostile bytes make fastavro raise what they stumble over: IndexError, EOFError, UnicodeError ...
            why = f"{type(error).__name__}: {error}"
            message = f"the bytes are not a {writer.name} as their schema says ({why})"
            raise Invalid("undecodable", message[:500]) from error
        if rest := len(body.getbuffer()) - body.tell():
            raise Invalid("undecodable", f"{rest} bytes follow the end of the {writer.name}")
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

    def _writer(self, data: bytes) -> tuple[Writer, int]:
        """The schema that `data` names, and where its body starts."""
        if len(data) >= 5 and data[0] == _CONFLUENT:
            return self.store.by_id(int.from_bytes(data[1:5], "big")), 5
        if len(data) >= 10 and data[:2] == _SINGLE_OBJECT:
            return self.store.by_fingerprint(data[2:10]), 10
        raise Invalid("undecodable", _unframed(data))

    def _prefix(self, record_type: type[msgspec.Struct], topic: str | None) -> bytes:
        name = _names[record_type]
        if self.store.registry is None:
            prefix = _SINGLE_OBJECT + self.store.fingerprints[name]
        else:
            subject = name if topic is None else subject_of(topic, name)
            try:
                schema_id = self.store.subject_ids[subject]
            except KeyError:
                message = f"no schema id is known for subject {subject}: look the subjects up first"
                raise LookupError(message) from None
            prefix = bytes([_CONFLUENT]) + schema_id.to_bytes(4, "big")
        self._prefixes[record_type, topic] = prefix
        return prefix


def _unframed(data: bytes) -> str:
    begin = data[:5].hex(" ") or "nothing"
    seen = "it looks like JSON" if data[:1] in (b"{", b"[") else f"it begins with {begin}"
    return (
        f"{len(data)} bytes that are neither Confluent's wire format (00 and a 4-byte schema id) nor Avro's "
        f"single-object encoding (c3 01 and a fingerprint); {seen}: publish with an Avro serializer"
    )
