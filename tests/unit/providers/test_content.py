"""Content by reference: what is fetched, what is refused, and that it's the same as its hash says."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from processors.providers.content import Fetcher, has_references
from processors.providers.content_hosts import ContentFailure, checked, is_public
from schemas.config import Content
from schemas.records import CallTask, ContentPart, Message, RequestEvent
from tests.fakes.call_bench import call_task

PICTURE = bytes(range(256)) * 40
SHA = hashlib.sha256(PICTURE).hexdigest()


class Files:
    """A file server on loopback."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.running = self.most_running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            return await self._answer(request)
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/picture":
                return web.Response(body=PICTURE, content_type="image/png")
            case "/elsewhere":
                raise web.HTTPFound("/picture")
            case "/zipped":
                return web.Response(body=b"x" * 100, headers={"content-encoding": "gzip"})
            case "/endless":
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(1000):
                    await response.write(b"x" * 65536)
                return response
            case path:
                raise web.HTTPException(text="no") if path == "/odd" else _status(int(path[1:]))


def _status(status: int) -> Exception:
    error = web.HTTPException(text="no")
    error.set_status(status)
    return error


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    files = Files()
    app = web.Application()
    app.router.add_get("/{name}", files.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    files.port = runner.addresses[0][1]
    yield files
    files.gate.set()
    await runner.cleanup()


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher()
    yield fetcher
    await fetcher.close()


def rules(files: Files, **more: Any) -> Content:
    return Content.model_validate({"private_hosts": [f"127.0.0.1:{files.port}"], **more})


def part(files: Files, name: str = "picture", **more: Any) -> ContentPart:
    return ContentPart(type="image", uri=f"http://127.0.0.1:{files.port}/{name}", **more)


def task(*parts: ContentPart) -> CallTask:
    message = Message(role="user", content=[ContentPart(type="text", text="look"), *parts])
    return call_task(request=RequestEvent(id="r", messages=[message]))


async def fetch(fetcher: Fetcher, wanted: CallTask, rules: Content, **more: Any) -> list[ContentPart]:
    async with fetcher.fetched(wanted, rules, 5.0, **more) as found:
        return found.request.messages[0].content[1:]


async def test_the_content_takes_the_place_of_its_reference(files: Files, fetcher: Fetcher) -> None:
    wanted = task(
        part(files, sha256=SHA.upper()), part(files), part(files, "picture?v=2", media_type="image/x")
    )
    found = await fetch(fetcher, wanted, rules(files))
    assert [p.data for p in found] == [PICTURE] * 3 and [p.uri for p in found] == [None] * 3
    assert [p.media_type for p in found] == ["image/png", "image/png", "image/x"]
    assert has_references(wanted), "the task that goes back to route stays as it was"


async def test_a_part_that_is_named_twice_is_fetched_once(files: Files, fetcher: Fetcher) -> None:
    await fetch(fetcher, task(part(files), part(files)), rules(files))
    assert files.asked == ["/picture"]


@pytest.mark.parametrize(
    ("name", "more", "limits", "error_class", "told"),
    [
        ("picture", {"sha256": "0" * 64}, {}, "content_refused", "SHA-256"),
        ("picture", {}, {"max_bytes": len(PICTURE) - 1}, "content_refused", "max_bytes"),
        ("endless", {}, {"max_bytes": 100_000}, "content_refused", "max_bytes"),
        ("elsewhere", {}, {}, "content_refused", "redirects"),
        ("zipped", {}, {}, "content_refused", "compressed"),
        ("404", {}, {}, "content_refused", "HTTP 404"),
        ("503", {}, {}, "content_unavailable", "HTTP 503"),
        ("429", {}, {}, "content_unavailable", "HTTP 429"),
    ],
)
async def test_what_is_refused(
    files: Files,
    fetcher: Fetcher,
    name: str,
    more: dict[str, Any],
    limits: dict[str, Any],
    error_class: str,
    told: str,
) -> None:
    with pytest.raises(ContentFailure, match=told) as caught:
        await fetch(fetcher, task(part(files, name, **more)), rules(files, **limits))
    assert caught.value.error_class == error_class
    assert caught.value.retriable == (error_class == "content_unavailable")


async def test_the_size_is_that_of_all_parts_together(files: Files, fetcher: Fetcher) -> None:
    both = task(part(files), part(files, "picture?v=2"))
    with pytest.raises(ContentFailure, match="max_bytes"):
        await fetch(fetcher, both, rules(files, max_bytes=len(PICTURE) * 2 - 1))
    assert len(await fetch(fetcher, both, rules(files, max_bytes=len(PICTURE) * 2))) == 2


async def test_a_host_that_isn_t_there_or_stands_still_is_unavailable(files: Files, fetcher: Fetcher) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        gone = ContentPart(type="image", uri=f"http://127.0.0.1:{port}/x")
        with pytest.raises(ContentFailure) as caught:
            await fetch(fetcher, task(gone), Content(private_hosts=[f"127.0.0.1:{port}"]))  # type: ignore[call-arg]
    assert caught.value.error_class == "content_unavailable"
    files.gate.clear()
    with pytest.raises(ContentFailure, match="wasn't there within"):
        await fetch(fetcher, task(part(files)), rules(files, timeout_s=0.1))


async def test_a_provider_that_fetches_by_itself_is_given_the_uri(files: Files, fetcher: Fetcher) -> None:
    """What has a hash is fetched all the same: nobody else compares it."""
    wanted = task(part(files), part(files, "picture?v=2", sha256=SHA))
    passed, fetched = await fetch(fetcher, wanted, rules(files), passes=True)
    assert passed == wanted.request.messages[0].content[1] and fetched.data == PICTURE
    assert files.asked == ["/picture?v=2"]


async def test_what_all_calls_hold_is_bounded(files: Files) -> None:
    size = len(PICTURE)
    fetcher = Fetcher(most_held=size * 2)
    begun, go_on = [], asyncio.Event()

    async def one(number: int) -> None:
        async with fetcher.fetched(
            task(part(files, f"picture?n={number}")), rules(files, max_bytes=size), 5.0
        ):
            begun.append(number)
            await go_on.wait()

    running = [asyncio.create_task(one(n)) for n in range(3)]
    while len(begun) < 2:
        await asyncio.sleep(0.01)
    assert files.asked == ["/picture?n=0", "/picture?n=1"], "the third waits for room"
    with pytest.raises(ContentFailure, match="hold as much content"):
        async with fetcher.fetched(task(part(files)), rules(files, max_bytes=size), 0.05):
            pass
    go_on.set()
    await asyncio.gather(*running)
    assert sorted(begun) == [0, 1, 2]
    await fetcher.close()


async def test_a_data_uri_is_taken_as_it_is(files: Files, fetcher: Fetcher) -> None:
    found = await fetch(
        fetcher,
        task(
            ContentPart(
                type="image",
                uri="data:image/gif;base64,R0lGODlh",
                sha256=hashlib.sha256(b"GIF89a").hexdigest(),
            ),
            ContentPart(type="document", uri="data:,a%20b"),
        ),
        rules(files),
    )
    assert [(p.data, p.media_type) for p in found] == [(b"GIF89a", "image/gif"), (b"a b", "text/plain")]
    for broken in ("data:image/gif;base64,R0l!", "data:image/gif"):
        with pytest.raises(ContentFailure) as caught:
            await fetch(fetcher, task(ContentPart(type="image", uri=broken)), rules(files))
        assert caught.value.error_class == "content_refused"


class Names(AbstractResolver):
    """Resolves every name to the addresses given, and counts."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.asked = addresses, 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


async def test_a_name_that_stands_for_a_private_address_is_refused(files: Files) -> None:
    """Whatever the allow-list says of the name: its owner chooses where it points."""
    names = Names("127.0.0.1", "10.0.0.7")
    fetcher = Fetcher(names)
    wanted = task(ContentPart(type="image", uri=f"https://files.example.com:{files.port}/picture"))
    with pytest.raises(ContentFailure, match="no public address") as caught:
        await fetch(fetcher, wanted, Content(allowed_hosts=[f"files.example.com:{files.port}"]))  # type: ignore[call-arg]
    assert caught.value.error_class == "content_refused" and names.asked == 1 and files.asked == []
    await fetcher.close()


@pytest.mark.parametrize(
    "uri",
    [
        "https://other.example.com/x",
        "https://files.example.com.evil.example/x",
        "https://evilfiles.example.com/x",
        "https://files.example.com:8443/x",
        "http://files.example.com/x",
        "https://user:secret@files.example.com/x",
        "https://sub.cdn.example.com.evil.example/x",
        "https://cdn.example.com/x",
        "https://files.example.com@evil.example/x",
        "file:///etc/passwd",
        "ftp://files.example.com/x",
        "https:///x",
        "https://[::1/x",
        "//files.example.com/x",
        "https://127.0.0.1/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_hosts_that_are_not_allowed(uri: str) -> None:
    hosts = [
        "files.example.com",
        "*.cdn.example.com",
        "127.0.0.1",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
    ]
    with pytest.raises(ContentFailure) as caught:
        checked(uri, Content.model_validate({"allowed_hosts": hosts}))
    assert caught.value.error_class == "content_refused" and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "private"),
    [
        ("https://FILES.example.com/x?signature=1", False),
        ("https://a.b.cdn.example.com/x", False),
        ("https://files.example.com:8443/x", False),
        ("https://files.example.com./x", False),
        ("http://store.internal:9000/x", True),
        ("https://[2606:4700::1111]/x", False),
    ],
)
def test_hosts_that_are_allowed(uri: str, private: bool) -> None:
    allowed = ["files.example.com", "files.example.com:8443", "*.cdn.example.com", "[2606:4700::1111]"]
    told = Content.model_validate({"allowed_hosts": allowed, "private_hosts": ["store.internal:9000"]})
    assert checked(uri, told)[1] == private


def test_a_message_shows_no_signature() -> None:
    with pytest.raises(ContentFailure) as caught:
        checked("https://a.example/x?X-Amz-Signature=abc#frag", Content())  # type: ignore[call-arg]
    assert "https://a.example/x" in str(caught.value) and "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False),
        ("0.0.0.0", False), ("255.255.255.255", False), ("224.0.0.1", False), ("::1", False), ("::", False),
        ("fe80::1%eth0", False), ("fc00::1", False), ("ff02::1", False), ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True), ("64:ff9b::a00:1", False), ("64:ff9b::808:808", True), ("2002:a00:1::", False),
        ("::127.0.0.1", False), ("::ffff:0:127.0.0.1", False), ("64:ff9b:1::a00:1", False), ("fec0::1", False),
        ("5f00::1", False), ("3fff::1", False),
    ],
)  # fmt: skip
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize("host", ["a..example.com", ".example.com", "a" * 64 + ".example.com"])
async def test_a_host_that_no_resolver_takes_is_refused(fetcher: Fetcher, host: str) -> None:
    """It is a tenant's: it must not end the worker."""
    named = ContentPart(type="image", uri=f"https://{host}/x")
    with pytest.raises(ContentFailure, match="can't be a name") as caught:
        await fetch(fetcher, task(named), Content(allowed_hosts=["*.example.com"]))  # type: ignore[call-arg]
    assert caught.value.error_class == "content_refused"


async def test_what_a_broken_answer_makes_told_shows_no_signature(fetcher: Fetcher) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nno header\xff\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        signed = ContentPart(type="image", uri=f"http://127.0.0.1:{port}/x?sig=secret-1")
        with pytest.raises(ContentFailure) as caught:
            await fetch(fetcher, task(signed), Content(private_hosts=[f"127.0.0.1:{port}"]))  # type: ignore[call-arg]
    assert caught.value.retriable and "secret-1" not in str(caught.value)
    str(caught.value).encode()


async def test_much_is_compared_with_its_hash_too(files: Files, fetcher: Fetcher) -> None:
    inline = "data:image/png," + "x" * (3 << 20)
    right = hashlib.sha256(b"x" * (3 << 20)).hexdigest()
    [found] = await fetch(fetcher, task(ContentPart(type="image", uri=inline, sha256=right)), rules(files))
    assert len(found.data or b"") == 3 << 20
    with pytest.raises(ContentFailure, match="SHA-256"):
        await fetch(fetcher, task(ContentPart(type="image", uri=inline, sha256=SHA)), rules(files))
