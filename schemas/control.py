"""Keys of commands on the compacted topic `llm.control`."""

import zlib
from typing import Final

from schemas.records import Control

_CANCEL_SLOTS: Final = 65_536


def control_key(control: Control) -> bytes:
    """The compaction key of a command.

    Pause and resume of one thing share a key, so that the last of them stays; cancels share a bounded number
    of keys, so that they don't pile up for ever.
    """
    if control.command in ("pause", "resume"):
        kind, target = ("model", control.model) if control.model else ("tenant", control.tenant)
        return f"pause:{kind}:{target}".encode()
    if control.command == "cancel":
        slot = zlib.crc32(f"{control.tenant}\x1f{control.request_id}".encode()) % _CANCEL_SLOTS
        return f"cancel:{slot}".encode()
    return f"op:{control.event_id}".encode()
