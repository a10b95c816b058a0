"""`sluice up` where the small model isn't installed, and what becomes of the configuration when it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from streams.cli import lifecycle, provision
from streams.cli.connect import NO_MODEL_URL, Where
from streams.cli.failure import Failure
from streams.demo import run
from streams.local import model_server_main
from streams.local.model_server_main import INSTALL
from streams.settings import Settings


def place(model_url: str | None, home: Path) -> Where:
    settings = Settings(home=home)
    return Where("b:1", "http://r:2/x", "http://c:3", model_url, home, "sluice", settings)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What `up` started, with nothing really started."""
    seen: dict[str, Any] = {}

    def start_stack(settings: Settings, parts: list[str], say: object, **more: bool) -> tuple[Where, str]:
        seen.update(more, parts=parts)
        return place("http://m:4/v1" if "model" in parts else None, tmp_path), NO_MODEL_URL

    async def provisioned(*_: object, **more: object) -> str:
        seen.update(more)
        return "v1"

    monkeypatch.delenv("SLUICE_WELL_KNOWN_PORTS", raising=False)
    monkeypatch.setattr(lifecycle, "start_stack", start_stack)
    monkeypatch.setattr(lifecycle, "start_workers", lambda *_: None)
    monkeypatch.setattr(provision, "provision", provisioned)
    return seen


def test_up_goes_on_without_the_model_and_says_how_to_get_it(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lifecycle, "missing", lambda: INSTALL)
    lifecycle.bring_up(None, with_workers=True, with_model=True, as_json=False)
    assert started["parts"] == ["kafka", "registry", "clickhouse"]
    told = capsys.readouterr().out
    assert INSTALL in told and "--model echo" in told
    assert all(address in told for address in ("b:1", "http://r:2/x", "http://c:3"))


def test_up_with_the_model_starts_it_at_the_ports_that_documents_name(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lifecycle, "missing", lambda: None)
    lifecycle.bring_up(None, with_workers=True, with_model=True, as_json=False)
    assert "model" in started["parts"] and started["well_known"] is True
    told = capsys.readouterr().out
    assert "--model echo" not in told and INSTALL not in told


def test_the_demo_needs_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "missing", lambda: INSTALL)
    with pytest.raises(Failure, match="isn't installed") as failed:
        run.demonstrate(12, keep=False, as_json=True)
    assert INSTALL in (failed.value.hint or "")


def test_what_is_missing_is_told_as_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(model_server_main, "weights", absent)
    assert model_server_main.missing() == INSTALL
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "sluice-llm[local]" in (model_server_main.missing() or "")


def test_the_model_named_is_the_one_that_is_locked() -> None:
    lock = (Path(__file__).parents[3] / "requirements-model.lock").read_text()
    assert f"{INSTALL.rpartition(' ')[2]} " in lock


async def test_the_example_needs_no_model_and_finds_it_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SLUICE_MODEL_URL", raising=False)
    published: list[Config] = []

    async def has_topic(*_: str) -> bool:
        return bool(published)

    async def active(brokers: str) -> tuple[str, Config]:
        return "v1", published[-1]

    monkeypatch.setattr(provision, "has_topic", has_topic)
    monkeypatch.setattr(provision, "active", active)
    without = await provision.wanted(place(None, tmp_path), None, NO_MODEL_URL)
    assert without.providers["local"].base_url == NO_MODEL_URL
    published.append(without)
    assert await provision.wanted(place(None, tmp_path), None, NO_MODEL_URL) == without
    found = await provision.wanted(place("http://m:4/v1", tmp_path), None, NO_MODEL_URL)
    assert found.providers["local"].base_url == "http://m:4/v1"
    assert NO_MODEL_URL not in json.dumps(found.model_dump(mode="json"))
