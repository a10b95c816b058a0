"""What authorises a call: keys, signatures and tokens, made by the clouds' own libraries."""

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote

import aiohttp
import pytest
from aiohttp import web

from processors.providers import auth
from processors.providers.auth import Lease, Leased, NoCredentials
from processors.providers.auth_aws import AwsKeys, SigV4
from processors.providers.auth_entra import EntraApplication, entra_token
from processors.providers.auth_google import google_token
from processors.providers.authorisers import Resolver, authoriser_of
from processors.providers.base import HttpRequest, ProviderFailure
from processors.providers.call import HttpTransport
from schemas.config import Provider

REQUEST = HttpRequest("POST", "/x", {"content-type": "application/json"}, b"{}")


class Source:
    """Something that is fetched: each time another value, unless `problem` says why not."""

    def __init__(self, life_s: float = 3600) -> None:
        self.now, self.life_s, self.fetched = 1000.0, life_s, 0
        self.problem: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.leased = Leased(self.fetch, lambda: self.now)

    def fetch(self) -> Lease[str]:
        self.gate.wait(10)
        self.fetched += 1
        if self.problem is not None:
            raise self.problem
        ends_at = self.now + self.life_s
        return Lease(f"value-{self.fetched}", ends_at - 300, ends_at - 10)


async def settled() -> None:
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.001)


async def test_a_token_is_fetched_once_for_all_who_wait_and_kept() -> None:
    source = Source()
    assert set(await asyncio.gather(*(source.leased.get() for _ in range(50)))) == {"value-1"}
    source.now += 3299
    assert await source.leased.get() == "value-1" and source.fetched == 1


async def test_it_is_renewed_before_it_ends_while_nobody_waits() -> None:
    source = Source()
    await source.leased.get()
    source.now += 3301
    source.gate.clear()
    assert [await source.leased.get() for _ in range(3)] == ["value-1"] * 3
    source.gate.set()
    await settled()
    assert await source.leased.get() == "value-2" and source.fetched == 2


async def test_it_serves_to_its_end_where_renewing_fails() -> None:
    source = Source()
    await source.leased.get()
    source.problem = OSError("metadata server away")
    source.now += 3301
    assert await source.leased.get() == "value-1"
    await settled()
    source.now += 1
    assert await source.leased.get() == "value-1" and source.fetched == 2, "and isn't asked for by each call"
    source.now += 300
    with pytest.raises(ProviderFailure, match="no credentials: OSError: metadata server away") as caught:
        await source.leased.get()
    error = caught.value.error
    assert (error.error_class, error.retriable, error.maybe_paid) == ("auth", True, False)
    source.problem, source.now = None, source.now + 5
    assert await source.leased.get() == "value-4"


async def test_a_source_that_is_away_is_asked_every_five_seconds() -> None:
    source = Source()
    source.problem = OSError("away")
    for second in range(11):
        source.now = 1000.0 + second
        with pytest.raises(ProviderFailure, match="away"):
            await source.leased.get()
    assert source.fetched == 3


async def test_a_call_doesn_t_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_LONGEST_WAIT_S", 0.05)
    source = Source()
    source.gate.clear()
    with pytest.raises(ProviderFailure, match=r"no credentials within 0\.05 s"):
        await source.leased.get()
    source.gate.set()
    assert await source.leased.get() == "value-1" and source.fetched == 1


async def test_who_gives_up_waiting_doesn_t_end_the_fetch_of_others() -> None:
    source = Source()
    source.gate.clear()
    first, second = (asyncio.create_task(source.leased.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    assert await second == "value-1" and source.fetched == 1


# Keys.


def resolver(**secrets: str) -> Resolver:
    return Resolver(secrets.__getitem__, secrets.__getitem__)


@pytest.mark.parametrize(
    ("provider", "headers"),
    [
        ({"kind": "openai"}, {"authorization": "Bearer s"}),
        ({"kind": "openai-responses"}, {"authorization": "Bearer s"}),
        ({"kind": "mistral"}, {"authorization": "Bearer s"}),
        ({"kind": "cohere"}, {"authorization": "Bearer s"}),
        ({"kind": "anthropic"}, {"x-api-key": "s"}),
        ({"kind": "gemini"}, {"x-goog-api-key": "s"}),
        ({"kind": "vertex", "project": "p", "location": "l"}, {"x-goog-api-key": "s"}),
        ({"kind": "azure", "base_url": "https://a"}, {"api-key": "s"}),
        ({"kind": "bedrock", "region": "r"}, {"authorization": "Bearer s"}),
        (
            {"kind": "anthropic", "auth": {"type": "key", "header": "Authorization"}},
            {"authorization": "Bearer s"},
        ),
        ({"kind": "openai", "auth": {"type": "key", "header": "X-Gateway-Key"}}, {"x-gateway-key": "s"}),
        ({"kind": "openai", "base_url": "http://x", "auth": "none"}, {}),
    ],
)
async def test_a_key_goes_into_the_header_of_its_kind(
    provider: dict[str, Any], headers: dict[str, str]
) -> None:
    told = Provider.model_validate({"api_key": "env:KEY", **provider})
    made = authoriser_of(told, "env:KEY", resolver(**{"env:KEY": "s"}))
    assert await made.headers(REQUEST, "https://x") == headers


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [
        ({"kind": "bedrock", "region": "r"}, "botocore", "aws"),
        ({"kind": "vertex", "project": "p", "location": "l"}, "google", "google"),
        ({"kind": "azure", "base_url": "https://a"}, "azure", "azure"),
    ],
)
def test_a_missing_library_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, kind: dict[str, Any], module: str, extra: str
) -> None:
    def missing(name: str) -> Any:
        assert name.startswith(module)
        raise ImportError(name)

    monkeypatch.setattr(auth.importlib, "import_module", missing)
    with pytest.raises(NoCredentials, match=rf"pip install 'sluice-llm\[{extra}\]'"):
        authoriser_of(Provider.model_validate(kind), None, resolver())


# AWS: what arrives is verified as AWS does, by the rules that it publishes.


def expected_signature(request: web.Request, body: bytes, secret: str) -> str:
    """The signature that the server computes of what it received (AWS, "Create a signed request")."""
    told = dict(pair.split("=", 1) for pair in request.headers["authorization"].split(" ", 1)[1].split(", "))
    _access, day, region, service, _ = told["Credential"].split("/")
    signed = told["SignedHeaders"].split(";")
    path = quote(request.raw_path.partition("?")[0], safe="/-_.~")
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed)
    query = request.raw_path.partition("?")[2]
    canonical = "\n".join(
        [request.method, path, query, headers, ";".join(signed), hashlib.sha256(body).hexdigest()]
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            request.headers["x-amz-date"],
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


class Verifier:
    """A server on loopback that notes of each request whether its signature is right."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, str, dict[str, str]]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        right = expected_signature(request, body, "secret-key") in request.headers["authorization"]
        self.seen.append((right, request.raw_path, {k.lower(): v for k, v in request.headers.items()}))
        return web.Response(text="ok")


@pytest.fixture
async def aws() -> AsyncIterator[Verifier]:
    verifier = Verifier()
    app = web.Application(client_max_size=8 << 20)
    app.router.add_post("/{path:.*}", verifier.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    verifier.port = runner.addresses[0][1]
    yield verifier
    await runner.cleanup()


@pytest.mark.parametrize(
    "path",
    [
        "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse-stream",
        "/model/anthropic.claude-3-5-sonnet-20241022-v2:0/converse-stream",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream",
        "/model/plain/converse",
    ],
)
@pytest.mark.parametrize("body", [b'{"messages": []}', b"x" * (1 << 20)], ids=["small", "large"])
async def test_what_arrives_at_aws_bears_a_right_signature(aws: Verifier, path: str, body: bytes) -> None:
    told: set[str] = set()
    signer = SigV4("us-east-1", keys=AwsKeys("AKIDEXAMPLE", "secret-key", "session-1"), told=told.add)
    async with aiohttp.ClientSession() as session:
        transport = HttpTransport(session, f"http://127.0.0.1:{aws.port}", {"x-team": "a"}, 5.0, signer)
        headers = {"content-type": "application/json", "x-sluice-attempt-id": "a.1", "accept": "x/y"}
        async with transport.open(HttpRequest("POST", path, headers, body)) as answer:
            assert answer.status == 200
    [(right, _, seen)] = aws.seen
    assert right and seen["x-amz-security-token"] == "session-1" and seen["x-team"] == "a"
    assert told == {"secret-key", "session-1"}, "AWS quotes what was signed in its errors"
    assert "/us-east-1/bedrock/aws4_request" in seen["authorization"]
    assert "x-sluice" not in seen["authorization"], "a proxy may change what isn't AWS's"


async def test_aws_keys_are_found_where_its_own_tools_find_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    shared = tmp_path / "credentials"
    shared.write_text("[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = await SigV4("eu-west-1", profile="work").headers(REQUEST, "https://bedrock.example/x")
    assert "Credential=AKIDWORK/" in made["Authorization"]
    shared.write_text("")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ProviderFailure, match="no AWS credentials in the environment"):
        await SigV4("eu-west-1").headers(REQUEST, "https://bedrock.example/x")


# Tokens of Google and Entra, from a token server on loopback.


class Tokens(BaseHTTPRequestHandler):
    """Gives a token for what it is asked, and keeps the questions."""

    asked: list[dict[str, list[str]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.asked.append(parse_qs(body))
        answer = json.dumps(
            {"access_token": f"token-{len(self.asked)}", "expires_in": 3600, "token_type": "Bearer"}
        )
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def tokens() -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    asked: list[dict[str, list[str]]] = []
    handler = type("Handler", (Tokens,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token", asked
        server.shutdown()


def service_account(token_uri: str) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account", "client_email": "a@b.example", "private_key": key.decode(),
            "private_key_id": "1", "token_uri": token_uri, "project_id": "p",
        }
    )  # fmt: skip


async def test_a_google_service_account_s_token(tokens: tuple[str, list[dict[str, list[str]]]]) -> None:
    told: list[str] = []
    made = google_token(service_account(tokens[0]), told=told.append)
    for _ in range(3):
        assert await made.headers(REQUEST, "https://x") == {"authorization": "Bearer token-1"}
    [asked] = tokens[1]
    assert asked["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"] and asked["assertion"]
    assert told == ["token-1"], "it is kept out of logs from now on"


async def test_google_s_default_credentials(
    tokens: tuple[str, list[dict[str, list[str]]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "adc.json"
    file.write_text(service_account(tokens[0]))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    provider = Provider.model_validate({"kind": "vertex", "project": "p", "location": "l"})
    made = authoriser_of(provider, None, resolver())
    assert await made.headers(REQUEST, "https://x") == {"authorization": "Bearer token-1"}


@pytest.mark.parametrize("document", ["no JSON at all", "{}", '{"private_key": "-----SECRET-----"}', "[1]"])
def test_a_google_key_that_is_none_is_never_quoted(document: str) -> None:
    with pytest.raises(NoCredentials, match=r"auth\.credentials isn't the JSON") as caught:
        google_token(document)
    assert "SECRET" not in str(caught.value)


class Wire:
    """Stands in for the HTTP of azure-identity: a tenant's metadata, then a token for each question."""

    def __init__(self) -> None:
        self.posted: list[dict[str, list[str]]] = []

    def send(self, request: Any, **_: Any) -> Any:
        from types import SimpleNamespace

        base = "https://login.microsoftonline.com/tenant-1"
        if request.method == "POST":
            self.posted.append(
                {k: [v] for k, v in request.data.items()} if isinstance(request.data, dict) else {}
            )
            body: dict[str, Any] = {"access_token": "entra-1", "expires_in": 3600, "token_type": "Bearer"}
        else:
            body = {
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "issuer": f"{base}/v2.0",
                "tenant_discovery_endpoint": f"{base}/v2.0/.well-known/openid-configuration",
                "metadata": [],
            }
        text = json.dumps(body)
        return SimpleNamespace(
            status_code=200, headers={"content-type": "application/json"}, text=lambda *_, **__: text, body=text.encode,
            content_type="application/json", context={}, json=lambda: body, request=request,
        )  # fmt: skip

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing is tried again")


async def test_an_entra_application_s_token() -> None:
    wire, told = Wire(), list[str]()
    application = EntraApplication("tenant-1", "client-1", "hush-hush")
    made = entra_token(application, told=told.append, transport=wire)
    for _ in range(3):
        assert await made.headers(REQUEST, "https://x") == {"authorization": "Bearer entra-1"}
    [asked] = wire.posted
    assert asked["scope"] == ["https://cognitiveservices.azure.com/.default"]
    assert asked["client_secret"] == ["hush-hush"] and told == ["entra-1"]


async def test_a_token_that_has_ended_is_never_used() -> None:
    """The clock of the machine that gave it is ahead of ours."""
    source = Source(life_s=5)
    with pytest.raises(ProviderFailure, match="had ended"):
        await source.leased.get()
