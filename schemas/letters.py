"""What a dead letter keeps of the record that it is about, whichever stage makes it.

A record near its topic's limit of 6 MiB leaves no room for the letter around it. What is cut is said in the message,
for people, and in a header, for programs.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas import names
from schemas.records import DeadLetter, Header

MOST_BYTES: Final = 4 << 20
MOST_KEY: Final = 64 << 10
MOST_HEADERS: Final = 256 << 10


class Kept(NamedTuple):
    """Key, value and headers as far as a letter can hold them, and its message, which says what was cut."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]
    message: str


def keep(
    key: bytes | None, value: bytes | None, pairs: Iterable[tuple[str, bytes | None]], message: str
) -> Kept:
    """The parts of a record for its letter."""
    headers = [Header(key=k, value=v) for k, v in pairs]
    cut: dict[str, str] = {}
    if value is not None and len(value) > MOST_BYTES:
        cut["value"] = f"the first {MOST_BYTES} of {len(value)} bytes of its value"
        value = value[:MOST_BYTES]
    if key is not None and len(key) > MOST_KEY:
        cut["key"] = f"the first {MOST_KEY} of {len(key)} bytes of its key"
        key = key[:MOST_KEY]
    if sum(len(h.key.encode()) + len(h.value or b"") for h in headers) > MOST_HEADERS:
        cut["headers"] = "none of its headers"
        headers = []
    if cut:
        message += f" (kept: {', '.join(cut.values())}; the original lies at its offset)"
        headers.append(Header(key=names.LETTER_TRUNCATED, value=",".join(cut).encode()))
    return Kept(key, value, headers, message[:MOST_HEADERS])


def truncated(letter: DeadLetter) -> str | None:
    """Which parts of the original the letter doesn't hold whole, such as `value`; None where it holds all."""
    marks = [h.value or b"" for h in letter.headers if h.key == names.LETTER_TRUNCATED]
    return marks[-1].decode(errors="replace").replace(",", ", ") if marks else None
