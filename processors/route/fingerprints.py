"""Fingerprints: 16 bytes that stand for a request id, an idempotency key, a source or a command."""

import struct
from hashlib import blake2b
from typing import Final, Literal

from processors.route.emit import Source

Kind = Literal["request", "key", "notice", "cancel", "command"]
_HALVES: Final = struct.Struct("<QQ")


def fingerprint(kind: Kind, tenant: str, name: str) -> bytes:
    """16 bytes that stand for `name` of a tenant."""
    return blake2b(f"{kind}\x1f{tenant}\x1f{name}".encode(), digest_size=16).digest()


def halves(print_: bytes) -> tuple[int, int]:
    """A fingerprint as two unsigned 64-bit numbers."""
    low, high = _HALVES.unpack(print_)
    return low, high


def source_mark(topic: str, partition: int, offset: int) -> int:
    """A number (32 bits) that stands for where a client's request lay."""
    digest = blake2b(f"{topic}\x1f{partition}\x1f{offset}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def body_mark(body_hash: bytes) -> int:
    """A number (32 bits) that stands for a request's body."""
    return int.from_bytes(body_hash[:4], "little")


def source_name(source: Source) -> str:
    """A source as text, unique among records."""
    return f"{source.topic}-{source.partition}-{source.offset}"
