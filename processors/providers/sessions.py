"""The HTTP clients of a worker: one that keeps connections for the next call, one that never does."""

from dataclasses import dataclass
from types import TracebackType

import aiohttp

# Idle connections are closed early: one that the provider closes first costs a maybe-paid failure.
_KEEPALIVE_S = 4.0


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    # No bound on connections, as each model has its concurrency; no cookies; answers come as they are sent.
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept-encoding": "identity"},
        read_bufsize=1 << 14,
    )


@dataclass(frozen=True, slots=True)
class Sessions:
    """`fresh` serves providers whose headers say `connection: close`."""

    kept: aiohttp.ClientSession
    fresh: aiohttp.ClientSession

    @classmethod
    def make(cls) -> "Sessions":
        """Both clients; they belong to the running loop."""
        kept = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S)
        fresh = aiohttp.TCPConnector(limit=0, force_close=True)
        return cls(_session(kept), _session(fresh))

    def of(self, headers: dict[str, str]) -> aiohttp.ClientSession:
        """The client for a provider with these headers."""
        close = any(
            name.lower() == "connection" and value.lower() == "close" for name, value in headers.items()
        )
        return self.fresh if close else self.kept

    async def __aenter__(self) -> "Sessions":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kept.close()
        await self.fresh.close()
