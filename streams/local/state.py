"""The state file of the embedded stack: which ports, addresses and pids its parts have."""

import os
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

PartName = Literal["kafka", "registry", "clickhouse", "model"]
PART_NAMES: Final[tuple[PartName, ...]] = get_args(PartName)

FORMAT: Final = 1


class Entry(msgspec.Struct, frozen=True):
    """One part. `pid` is None while it is down; whether a pid is still that process, its pid file tells."""

    ports: dict[str, int]
    url: str
    pid: int | None = None


class State(msgspec.Struct, frozen=True):
    """All parts that were ever started in a home directory."""

    format: int = FORMAT
    parts: dict[PartName, Entry] = {}

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read the file; an absent or unreadable one is an empty state, since ports can be chosen again.

        Raises ValueError for a file of a newer format.
        """
        try:
            state = msgspec.json.decode(path.read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.DecodeError):
            return cls()
        if state.format > FORMAT:
            raise ValueError(f"{path} has the newer format {state.format}: upgrade sluice-llm")
        return state

    def with_part(self, name: PartName, entry: Entry) -> "State":
        return State(parts={**self.parts, name: entry})

    def save(self, path: Path) -> None:
        """Replace the file in one step: a reader, or a crash, sees the old or the new one."""
        new = path.with_suffix(".new")
        with new.open("wb") as f:
            f.write(msgspec.json.format(msgspec.json.encode(self), indent=2))
            f.flush()
            os.fsync(f.fileno())
        new.replace(path)
