"""What authorises a call: headers of the key itself, or of a token or a signature that a cloud's library makes.

An authoriser gives the headers of one request. What it can't give is a failure of class `auth`: nothing was sent, so
nothing can have been paid, and another deployment may serve.
"""

import asyncio
import importlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from processors.providers.base import HttpRequest, ProviderFailure
from processors.providers.failures import AUTH
from schemas.records import ErrorInfo

T = TypeVar("T")

# So long a call waits for credentials; what is still under way then serves the next.
_LONGEST_WAIT_S: Final = 30.0
# After a failed fetch nobody asks again for so long: a metadata server that is away must not be asked by each call.
_QUIET_S: Final = 5.0
_MESSAGE: Final = 500
_log = logging.getLogger(__name__)


class Authoriser(Protocol):
    """Authorises requests to one provider."""

    async def headers(self, request: HttpRequest, url: str) -> Mapping[str, str]:
        """The headers to add to `request`, which goes to `url` as written there. Raises ProviderFailure `auth`."""


class NoCredentials(Exception):
    """Credentials can't be had; the message says what to do about it, and never holds a secret."""


class MissingExtra(NoCredentials):
    """The library that makes the credentials isn't installed."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"needs the extra {extra!r}: pip install 'sluice-llm[{extra}]'")


def library(module: str, extra: str) -> Any:
    """A module of an optional library. Raises MissingExtra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(extra) from error


@dataclass(frozen=True, slots=True)
class FixedHeaders:
    """A key, or nothing: the same headers for every request."""

    fixed: Mapping[str, str]

    async def headers(self, request: HttpRequest, url: str) -> Mapping[str, str]:
        return self.fixed


NOT_AUTHORISED: Final = FixedHeaders({})


def unauthorised(message: str) -> ProviderFailure:
    """A call that wasn't made, as nothing authorises it."""
    return ProviderFailure(
        ErrorInfo(error_class=AUTH.error_class, message=message[:_MESSAGE], retriable=True)
    )


@dataclass(frozen=True, slots=True)
class Lease(Generic[T]):
    """A value with its times, seconds since the epoch: renewed from `renew_at` on, worthless at `ends_at`."""

    value: T
    renew_at: float
    ends_at: float


class Leased(Generic[T]):
    """A value that is fetched in a thread, once for all who wait, and again before it ends.

    `fetch` raises NoCredentials, or what its library raises, where it can't be had.
    """

    def __init__(self, fetch: Callable[[], Lease[T]], now: Callable[[], float] = time.time) -> None:
        self._fetch, self._now = fetch, now
        self._lease: Lease[T] | None = None
        self._running: asyncio.Task[None] | None = None
        self._quiet_until = 0.0
        self._problem = ""

    async def get(self) -> T:
        """The value. Raises ProviderFailure `auth`."""
        lease, now = self._lease, self._now()
        if lease is not None and now < lease.ends_at:
            if now >= lease.renew_at and now >= self._quiet_until:
                self._begin()
            return lease.value
        if now < self._quiet_until:
            raise unauthorised(self._problem)
        # Shielded: who gives up waiting doesn't end the fetch of the others.
        try:
            async with asyncio.timeout(_LONGEST_WAIT_S):
                await asyncio.shield(self._begin())
        except TimeoutError:
            raise unauthorised(f"no credentials within {_LONGEST_WAIT_S:g} s") from None
        lease = self._lease
        if lease is None or self._now() >= lease.ends_at:
            raise unauthorised(self._problem or "the credentials had ended when they came")
        return lease.value

    def _begin(self) -> "asyncio.Task[None]":
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._renew())
        return self._running

    async def _renew(self) -> None:
        try:
            self._lease = await asyncio.to_thread(self._fetch)
            self._problem = ""
        except Exception as error:
            # Libraries of clouds raise what they like, for a missing file as for a host that is away.
            told = str(error) if isinstance(error, NoCredentials) else f"{type(error).__name__}: {error}"
            self._problem = f"no credentials: {told}"
            self._quiet_until = self._now() + _QUIET_S
            _log.warning("%s", self._problem[:_MESSAGE])
        finally:
            self._running = None


class BearerToken:
    """`authorization: Bearer` with a token that is leased."""

    def __init__(self, token: Leased[str]) -> None:
        self._token = token

    async def headers(self, request: HttpRequest, url: str) -> Mapping[str, str]:
        return {"authorization": f"Bearer {await self._token.get()}"}
