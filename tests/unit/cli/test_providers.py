"""`sluice providers test`: what it calls, what it tells, and that it never tells a secret."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.cli.failure import NotFound, Unwanted
from streams.cli.providers import check_providers
from tests.fakes.provider import State, serve

SECRET = "sk-planted-0123456789"


@pytest.fixture
async def server() -> AsyncIterator[tuple[State, str]]:
    """A provider that answers."""
    state = State(chunks=2)
    running, port = await serve(state, 0)
    yield state, f"http://127.0.0.1:{port}/v1"
    running.close()


@pytest.fixture
async def refusing() -> AsyncIterator[str]:
    """The address of a provider that refuses every key, and shows it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        key = head.partition("authorization: bearer ")[2].partition("\r\n")[0]
        body = json.dumps(
            {"error": {"message": f"Incorrect\nAPI key {key}", "code": "invalid_api_key"}}
        ).encode()
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    running = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/v1"


def written(folder: Path, providers: dict[str, Any], models: dict[str, Any]) -> Path:
    file = folder / "sluice.yaml"
    rest = {"version": 1, "tenants": {"t": {}}, "routes": [{"models": list(models)}]}
    file.write_text(yaml.safe_dump({**rest, "providers": providers, "models": models}))
    return file


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_each_deployment_is_called_once_and_its_cost_is_told(
    tmp_path: Path, server: tuple[State, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = server
    served = {"provider": "chat", "vendor_model": "v", "price": {"input": 1000, "output": 0}}
    file = written(
        tmp_path,
        {"chat": {"kind": "openai", "base_url": url}},
        {"one": served, "two": {**served, "price": None}},
    )
    await check_providers(None, file, 10, as_json=True)
    (told,) = lines(capsys.readouterr().out)
    assert state.total == 1 and told["models"] == ["one", "two"]
    assert told["ok"] and told["finish_reason"] == "stop" and told["error"] is None
    assert 0 < told["first_token_ms"] <= told["latency_ms"]
    assert float(told["cost"]) == told["usage"]["input_uncached"] / 1000 > 0
    await check_providers(None, file, 10, as_json=False)
    assert " ok " in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [True, False])
async def test_every_key_is_tried_and_none_is_shown(
    tmp_path: Path,
    refusing: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    as_json: bool,
) -> None:
    monkeypatch.setenv("KEY_A", SECRET)
    monkeypatch.delenv("KEY_B", raising=False)
    keys = ["env:KEY_A", {"secret": "env:KEY_B", "name": "spare"}]
    providers = {"chat": {"kind": "openai", "base_url": refusing, "api_keys": keys}}
    file = written(tmp_path, providers, {"m": {"provider": "chat", "vendor_model": "v"}})
    with pytest.raises(Unwanted):
        await check_providers("chat", file, 10, as_json)
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert "Incorrect API key" in out and "set env:KEY_A to a key" in out
    assert "KEY_B is not set" in out and "spare" in out
    if as_json:
        assert [(told["key"], told["error_class"]) for told in lines(out)] == [
            ("key-1", "auth"),
            ("spare", "auth"),
        ]


async def test_a_name_chooses_and_an_unknown_one_is_told(
    tmp_path: Path, server: tuple[State, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = server
    providers = {
        "chat": {"kind": "openai", "base_url": url},
        "own": {"kind": "dummy"},
        "idle": {"kind": "dummy"},
    }
    models = {
        "m": {"provider": "own", "vendor_model": "echo", "aliases": ["small"]},
        "n": {"deployments": [{"provider": "chat", "vendor_model": "v", "name": "berlin"}]},
    }
    file = written(tmp_path, providers, models)
    for name, deployment in (
        ("own", "own/echo"),
        ("small", "own/echo"),
        ("n", "berlin"),
        ("berlin", "berlin"),
    ):
        await check_providers(name, file, 10, as_json=True)
        assert [told["deployment"] for told in lines(capsys.readouterr().out)] == [deployment], name
    assert state.total == 2
    with pytest.raises(NotFound, match="no model is served by provider 'idle'"):
        await check_providers("idle", file, 10, as_json=True)
    with pytest.raises(NotFound, match="'nobody'"):
        await check_providers("nobody", file, 10, as_json=True)


async def test_a_mute_provider_ends_by_the_timeout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mute = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with mute:
        url = f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
        providers = {"chat": {"kind": "anthropic", "base_url": url}}
        file = written(tmp_path, providers, {"m": {"provider": "chat", "vendor_model": "v"}})
        with pytest.raises(Unwanted):
            await check_providers(None, file, 0.2, as_json=True)
    (told,) = lines(capsys.readouterr().out)
    assert told["error_class"].startswith("timeout") and "--timeout" in told["fix"]
