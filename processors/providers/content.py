"""Content by reference: what a part's `uri` names, fetched just before the call and compared with its `sha256`.

Only hosts that the configuration lists are asked, over TLS, at public addresses (those of `private_hosts` aside); the
address that was looked at is the one that is connected to. Redirects are refused: they would lead past all this. What
was fetched is kept for the one call and never travels through Kafka.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import unquote_to_bytes

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver

from processors.providers.content_hosts import ContentFailure, NotPublic, PublicResolver, checked, shown
from schemas.config import Content
from schemas.records import CallTask, ContentPart

# What all calls of a worker together may hold of fetched content.
MOST_HELD: Final = 256 << 20
_PIECE: Final = 1 << 16
_HASHED_HERE: Final = 1 << 20
_MAY_PASS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNKNOWN: Final = "application/octet-stream"


def has_references(task: CallTask) -> bool:
    """Whether any part of the request is by reference."""
    return next(_references(task), None) is not None


def _references(task: CallTask) -> Iterator[ContentPart]:
    for part in task.request.content:
        if part.uri is not None and part.data is None:
            yield part
    for message in task.request.messages:
        for part in message.content:
            if part.uri is not None and part.data is None:
                yield part


class Fetcher:
    """Fetches for a worker. It belongs to the running loop; close it. `fetched_bytes` is told what was fetched."""

    def __init__(
        self,
        resolver: AbstractResolver | None = None,
        most_held: int = MOST_HELD,
        fetched_bytes: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._fetched_bytes = fetched_bytes
        self._public = _session(PublicResolver(resolver))
        self._private = _session(resolver)
        self._room = _Room(most_held)

    async def close(self) -> None:
        """End the connections."""
        await self._public.close()
        await self._private.close()

    @asynccontextmanager
    async def fetched(
        self, task: CallTask, rules: Content, within_s: float, passes: bool = False
    ) -> AsyncIterator[CallTask]:
        """The task with every part's content in it, for as long as the context is open.

        `passes`: the provider fetches by itself what has no sha256. Raises ContentFailure.
        """
        wanted = [part for part in _references(task) if not passes or part.sha256 is not None]
        if not wanted:
            yield task
            return
        mine = self._room.within(rules.max_bytes)
        try:
            async with asyncio.timeout(within_s) as limit:
                await self._room.take(mine)
        except TimeoutError:
            assert limit.expired()
            raise ContentFailure("other calls hold as much content as may be held at once", True) from None
        try:
            found = await self._all(wanted, rules, min(within_s, rules.timeout_s))
            held = sum({id(part.data): len(part.data or b"") for part in found.values()}.values())
            self._room.give(max(0, mine - held))
            mine = min(mine, held)
            yield _with(task, found)
        finally:
            self._room.give(mine)

    async def _all(self, parts: list[ContentPart], rules: Content, within_s: float) -> dict[int, ContentPart]:
        """The parts with their content, by identity; together no more than `rules.max_bytes`."""
        left = _Left(rules.max_bytes)
        by_place: dict[tuple[str, str | None], asyncio.Task[tuple[bytes, str]]] = {}
        problem: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    place = (part.uri or "", part.sha256)
                    if place not in by_place:
                        by_place[place] = group.create_task(self._one(*place, rules, left, within_s))
        except* ContentFailure as failures:
            problem = failures.exceptions[0]
        if problem is not None:
            raise problem
        found: dict[int, ContentPart] = {}
        for part in parts:
            data, media_type = by_place[part.uri or "", part.sha256].result()
            told = part.media_type or media_type
            found[id(part)] = msgspec.structs.replace(part, uri=None, sha256=None, data=data, media_type=told)
        return found

    async def _one(
        self, uri: str, sha256: str | None, rules: Content, left: "_Left", within_s: float
    ) -> tuple[bytes, str]:
        if uri.startswith("data:"):
            data, media_type = _inline(uri)
            left.take(len(data))
        else:
            try:
                async with asyncio.timeout(within_s):
                    data, media_type = await self._get(uri, rules, left)
            except TimeoutError as error:
                raise ContentFailure(f"{shown(uri)}: it wasn't there within {within_s:g} s", True) from error
        if sha256 is not None and await _sha256(data) != sha256.lower():
            raise ContentFailure(f"{shown(uri)}: its SHA-256 isn't the part's sha256: it has changed")
        return data, media_type

    async def _get(self, uri: str, rules: Content, left: "_Left") -> tuple[bytes, str]:
        url, private = checked(uri, rules)
        session = self._private if private else self._public
        try:
            async with session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise _status(uri, response.status)
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise ContentFailure(f"{shown(uri)}: it comes compressed, though asked for as it is")
                left.check(response.content_length or 0)
                data = bytearray()
                async for piece in response.content.iter_chunked(_PIECE):
                    left.take(len(piece))
                    data += piece
                self._fetched_bytes(len(data))
                return bytes(data), response.headers.get("content-type", _UNKNOWN).partition(";")[0].strip()
        except UnicodeError as error:  # the system's resolver can't even look for such a name
            raise ContentFailure(f"{shown(uri)}: the host can't be a name: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause = getattr(error, "os_error", error)
            if isinstance(cause, NotPublic):
                raise ContentFailure(f"{shown(uri)}: {cause}") from error
            raise ContentFailure(f"{shown(uri)}: {_told(error)}", True) from error


class _Room:
    """How much may be held at once, in bytes; who finds no room waits for it."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._waiting: list[asyncio.Future[None]] = []

    def within(self, wanted: int) -> int:
        """What there can be of so much."""
        return min(wanted, self._most)

    async def take(self, size: int) -> None:
        """Return once there is room, and take it."""
        while self._held + size > self._most:
            free = asyncio.get_running_loop().create_future()
            self._waiting.append(free)
            await free
        self._held += size

    def give(self, size: int) -> None:
        """Give it back."""
        self._held -= size
        waiting, self._waiting = self._waiting, []
        for free in waiting:
            if not free.done():
                free.set_result(None)


class _Left:
    """What a request's content may still have, in bytes."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def check(self, size: int) -> None:
        """Raises ContentFailure where `size` is more than is left."""
        if size > self._left:
            raise ContentFailure(f"the content is longer than {self._most} bytes (content.max_bytes)")

    def take(self, size: int) -> None:
        """Raises ContentFailure where `size` is more than is left."""
        self.check(size)
        self._left -= size


def _session(resolver: AbstractResolver | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=64, limit_per_host=16, resolver=resolver, ttl_dns_cache=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept-encoding": "identity"},
        auto_decompress=False,
    )


async def _sha256(data: bytes) -> str:
    """In hexadecimal; hashing much would stand in everybody's way."""
    if len(data) <= _HASHED_HERE:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


def _told(error: Exception) -> str:
    """What an error says, without the whole URL, which may hold a signature, and fit to be written."""
    told = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return (told or type(error).__name__).encode("utf-8", "replace").decode()


def _status(uri: str, status: int) -> ContentFailure:
    if 300 <= status < 400:
        return ContentFailure(f"{shown(uri)}: it redirects (HTTP {status}); give the URL that it leads to")
    return ContentFailure(f"{shown(uri)}: HTTP {status}", status in _MAY_PASS)


def _inline(uri: str) -> tuple[bytes, str]:
    """The content of a `data:` URI."""
    head, comma, body = uri[len("data:") :].partition(",")
    if not comma:
        raise ContentFailure("a data: URI without a comma holds no content")
    media_type, *attributes = head.split(";")
    try:
        raw = unquote_to_bytes(body)
        data = base64.b64decode(raw, validate=True) if "base64" in attributes else raw
    except (binascii.Error, ValueError) as error:
        raise ContentFailure(f"a data: URI holds no valid base64: {error}") from error
    return data, media_type or "text/plain"


def _with(task: CallTask, found: dict[int, ContentPart]) -> CallTask:
    """The task with these parts (by identity) in place of theirs."""

    def changed(parts: list[ContentPart]) -> list[ContentPart]:
        return [found.get(id(part), part) for part in parts]

    request = task.request
    messages = [msgspec.structs.replace(m, content=changed(m.content)) for m in request.messages]
    request = msgspec.structs.replace(request, content=changed(request.content), messages=messages)
    return msgspec.structs.replace(task, request=request)
