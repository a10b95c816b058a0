"""An incremental parser of server-sent events that survives any split of the bytes."""

from dataclasses import dataclass, field


class TooLong(ValueError):
    """One event is longer than the bound."""


def _usual(buffer: bytes) -> list[bytes] | None:
    """Whole events of the usual forms: one `data: ` line each, or with one `event: ` line before. None for others.

    Counting line ends shows whether there is any other line, without a look at each.
    """
    if buffer.startswith(b"data: "):
        events = buffer[6:-2].split(b"\n\ndata: ")
        return events if buffer.count(b"\n") == 2 * len(events) else None
    if not buffer.startswith(b"event: "):
        return None
    events = buffer[:-2].split(b"\n\nevent: ")
    if buffer.count(b"\n") != 3 * len(events):
        return None
    named = [event.partition(b"\ndata: ") for event in events]
    return [data for _, found, data in named] if all(found for _, found, _ in named) else None


@dataclass(slots=True)
class SseParser:
    """Feed bytes, get the `data` of each event that is complete. `most` bounds the bytes of one event."""

    most: int = 8 << 20
    _rest: bytes = b""
    _pieces: list[bytes] = field(default_factory=list)
    _held: int = 0
    _data: list[bytes] = field(default_factory=list)
    _size: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that `data` completes, in order. Raises TooLong."""
        if self._rest:
            if b"\n" not in data and b"\r" not in data and not self._rest.endswith(b"\r"):
                return self._hold(data)
            buffer = b"".join((self._rest, *self._pieces, data))
            self._pieces, self._held = [], 0
        else:
            buffer = data
        if not self._data and buffer.endswith(b"\n\n") and b"\r" not in buffer:
            events = _usual(buffer)
            if events is not None:
                self._rest = b""
                return events
        end = max(buffer.rfind(b"\n"), buffer.rfind(b"\r")) + 1
        if end and end == len(buffer) and buffer.endswith(b"\r"):
            end = self._before_lone_return(buffer)
        self._rest = buffer[end:]
        events = self._lines(buffer[:end].splitlines()) if end else []
        if self._size + len(self._rest) > self.most:
            raise TooLong(f"an event of the stream is longer than {self.most} bytes")
        return events

    def _hold(self, data: bytes) -> list[bytes]:
        """More of a line that isn't whole: put together once it is, as each time would be too often for a long one."""
        self._pieces.append(data)
        self._held += len(data)
        if self._size + len(self._rest) + self._held > self.most:
            raise TooLong(f"an event of the stream is longer than {self.most} bytes")
        return []

    def close(self) -> list[bytes]:
        """What is complete but for the blank line after it; call at the end of the stream."""
        lines = self._rest.splitlines() if self._rest.endswith(b"\r") else []
        self._rest = b""
        self._pieces, self._held = [], 0
        events = self._lines(lines)
        if self._data:
            events.append(self._take())
        return events

    @staticmethod
    def _before_lone_return(buffer: bytes) -> int:
        """A return at the very end may be half of a line end: leave its line for the next feed."""
        body = buffer[:-1]
        return max(body.rfind(b"\n"), body.rfind(b"\r")) + 1

    def _lines(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(self._take())
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._data.append(value)
                self._size += len(value) + 1  # an empty line takes its place too
        return events

    def _take(self) -> bytes:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        return data
