"""The hash of what a request asks for, by which route tells a repeated request from a conflicting one."""

import hashlib
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec
import orjson

from schemas.records import RequestEvent

_NOT_MEANING: Final = ("id", "idempotency_key", "traceparent", "tracestate")


def body_hash(event: RequestEvent) -> bytes:
    """16 bytes of BLAKE2b over the request's canonical JSON, without its ids and trace context.

    Fields at their default are left out, so that a field added in a later version leaves the hash of requests
    that don't use it as it was.
    """
    meant = {name: value for name, value in _told(event).items() if name not in _NOT_MEANING}
    text = orjson.dumps(meant, option=orjson.OPT_SORT_KEYS, default=_plain)
    return hashlib.blake2b(text, digest_size=16).digest()


@cache
def _fields(record_type: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    """Name and default of each field."""
    return tuple(
        (field.name, field.default_factory() if callable(field.default_factory) else field.default)
        for field in msgspec.structs.fields(record_type)
    )


def _told(record: msgspec.Struct) -> dict[str, Any]:
    """The fields that a record sets to something else than their default."""
    fields = ((name, default, getattr(record, name)) for name, default in _fields(type(record)))
    return {name: _deep(value) for name, default, value in fields if value != default}


def _deep(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _told(value)
    return [_deep(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f") if value.is_finite() else str(value)
    return {"bytes": value.hex()}
