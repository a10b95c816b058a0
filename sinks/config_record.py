"""A record of the configuration's topic: a version's content under its hash, or which version is active.

The topic is compacted and holds no Avro: key and value are texts. What analysts read of it must hold no secret.
A configuration refers to secrets (`env:NAME`, `file:PATH`); what stands in a secret's place and is no reference is
hidden all the same.
"""

import hashlib
import re
from typing import Any, Final, Literal

import msgspec

from schemas.signals import Invalid

ACTIVE_KEY: Final = b"active"
HIDDEN: Final = "***"
_REFERENCE: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")
_SECRET: Final = re.compile(
    r"(?i)secret|password|passwd|credential|api_?key|access_?key|authori[sz]ation|token$|headers$"
)
_MAPS: Final = {"headers", "secrets", "credentials"}  # whose entries have names of their own
_USER_OF_URL: Final = re.compile(r"(?<=://)[^/@\s]*(?=@)")
_QUERY_OF_URL: Final = re.compile(r"(?<=\?)\S+")
_DIGITS: Final = 16

Event = Literal["published", "activated", "removed"]


class ConfigRecord(msgspec.Struct, frozen=True):
    """`version` is the hash that the record is about. `content` is the configuration as it may be shown, a JSON text;
    empty where the record holds none. `matches`: the content's SHA-256 begins with the version."""

    event: Event
    version: str
    content: str = ""
    matches: bool = True


def read(key: bytes | None, value: bytes | None) -> ConfigRecord:
    """What a record says. Raises Invalid (undecodable, null_value)."""
    if not key:
        raise Invalid(
            "undecodable", f"a record of a configuration has a key: its hash, or {ACTIVE_KEY.decode()}"
        )
    if key == ACTIVE_KEY:
        if value is None:
            raise Invalid("null_value", "no version is named as the active one: publish its hash")
        return ConfigRecord("activated", _text(value))
    version = _text(key)
    if value is None:
        return ConfigRecord("removed", version)
    try:
        shown = msgspec.json.encode(hidden(msgspec.json.decode(value))).decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid("undecodable", f"the configuration {version} is no JSON: {error}") from error
    return ConfigRecord("published", version, shown, hashlib.sha256(value).hexdigest()[:_DIGITS] == version)


def hidden(found: Any, name: str = "") -> Any:
    """`found` with what may be a secret hidden; `name` is that of the field under which it stands."""
    if isinstance(found, dict):
        return {k: hidden(v, name if name in _MAPS else k) for k, v in found.items()}
    if isinstance(found, list):
        return [hidden(v, name) for v in found]
    if not isinstance(found, str) or _REFERENCE.fullmatch(found):
        return found
    if _SECRET.search(name):
        return HIDDEN
    return _QUERY_OF_URL.sub(HIDDEN, _USER_OF_URL.sub(HIDDEN, found)) if "://" in found else found


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Invalid("undecodable", f"the name of a configuration is no UTF-8: {error}") from error
