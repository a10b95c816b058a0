"""What the doctor says of the providers that the configuration names."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from schemas.config import Config
from streams.cli import doctor
from streams.cli.connect import NO_MODEL_URL
from streams.local.model_server_main import INSTALL
from tests.unit.test_config_rules import config

PLACE: Any = None


@pytest.fixture
async def provider() -> AsyncIterator[str]:
    """The address of a provider that answers everything with an error's status."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """The address of one that takes connections and says nothing."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def configured(monkeypatch: pytest.MonkeyPatch, **providers: dict[str, Any]) -> None:
    known = Config.model_validate(config() | {"providers": {**config()["providers"], **providers}})

    async def active(place: object) -> dict[str, Any]:
        return {name: known.providers[name] for name in providers}

    monkeypatch.setattr(doctor, "_active_providers", active)


def openai(url: str, **more: str) -> dict[str, Any]:
    return {"kind": "openai", "base_url": url, **more}


async def test_a_provider_that_answers_with_an_error_is_there(
    monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    configured(monkeypatch, one=openai(provider), two=openai(provider), own={"kind": "dummy"})
    assert await doctor._providers(PLACE) == "2 answer"


async def test_those_that_do_not_answer_are_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, provider: str, mute: str
) -> None:
    monkeypatch.setattr(doctor, "_PROVIDER_S", 0.2)
    gone = "http://127.0.0.1:1/other"
    configured(monkeypatch, good=openai(provider), silent=openai(mute), away=openai(gone))
    with pytest.raises(doctor.Sick) as sick:
        await doctor._providers(PLACE)
    assert f"silent at {mute}" in sick.value.what and f"away at {gone}" in sick.value.what
    assert "good" not in sick.value.what
    assert "base_url" in sick.value.fix and "sluice config apply" in sick.value.fix


async def test_the_small_model_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch, local=openai(NO_MODEL_URL))
    with pytest.raises(doctor.Sick) as sick:
        await doctor._providers(PLACE)
    assert INSTALL in sick.value.fix and "sluice up" in sick.value.fix


async def test_every_secret_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    monkeypatch.delenv("B_KEY", raising=False)
    url = "http://127.0.0.1:1/v1"
    configured(monkeypatch, a=openai(url, api_key="env:A_KEY"), b=openai(url, api_key="env:B_KEY"))
    with pytest.raises(doctor.Sick, match=r"A_KEY.*; .*B_KEY"):
        await doctor._secrets(PLACE)
    monkeypatch.setenv("A_KEY", "x")
    monkeypatch.setenv("B_KEY", "y")
    assert await doctor._secrets(PLACE) == "2 can be read"


def test_the_providers_are_among_the_checks() -> None:
    assert {"secrets", "providers"} <= doctor.CHECKS.keys()
