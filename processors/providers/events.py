"""An answer's body as its events, whether the server streams it or sends it whole."""

from processors.providers.failures import failure
from processors.providers.sse import SseParser, TooLong


class Events:
    """The events of a stream as they come; of a body that is `whole`, the body itself once it has ended.

    `held`: bytes of such a body that wait for its end.
    """

    __slots__ = ("_pieces", "_sse", "held", "whole")

    def __init__(self, whole: bool) -> None:
        self.whole, self.held = whole, 0
        self._pieces: list[bytes] = []
        self._sse = SseParser()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes, split anywhere. Raises ProviderFailure `result_too_large` for an endless event."""
        if self.whole:
            self._pieces.append(data)
            self.held += len(data)
            return []
        try:
            return self._sse.feed(data)
        except TooLong as error:
            raise failure("result_too_large", str(error), retriable=False) from error

    def close(self) -> list[bytes]:
        """What the end of the body completes: of a whole one all of it, as the one event."""
        if not self.whole:
            return self._sse.close()
        body, self.held = b"".join(self._pieces), 0
        self._pieces.clear()
        return [body]


def is_whole(content_type: str) -> bool:
    """Whether an answer of that content type comes whole."""
    return content_type.startswith("application/json")
