"""Where commands find the parts: the environment first, then the state file of the stack."""

from pathlib import Path

import pytest

from streams.cli.connect import locate
from streams.local.state import Entry, State
from streams.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BROKERS", "REGISTRY_URL", "CLICKHOUSE_URL"):
        monkeypatch.delenv(f"SLUICE_{name}", raising=False)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    state = State()
    urls = {"kafka": "h:1", "registry": "http://h:2", "clickhouse": "http://h:3", "model": "http://h:4/v1"}
    for name, url in urls.items():
        state = state.with_part(name, Entry({}, url))  # type: ignore[arg-type]
    state.save(tmp_path / "stack.json")
    return tmp_path


def test_the_running_stack_is_found(home: Path) -> None:
    found = locate(Settings())
    assert (found.brokers, found.registry_url, found.clickhouse_url) == ("h:1", "http://h:2", "http://h:3")
    assert found.own_clickhouse
    assert found.variables() == {"SLUICE_MODEL_URL": "http://h:4/v1"}


def test_other_brokers_mean_another_registry_and_database(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_BROKERS", "elsewhere:9092")
    found = locate(Settings())
    assert (found.brokers, found.registry_url) == ("elsewhere:9092", None)
    assert found.clickhouse_url == "http://127.0.0.1:8123"
    assert not found.own_clickhouse


def test_one_part_may_be_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CLICKHOUSE_URL", "http://big:8123")
    found = locate(Settings())
    assert (found.brokers, found.clickhouse_url, found.own_clickhouse) == ("h:1", "http://big:8123", False)


def test_a_worker_started_with_these_settings_finds_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = locate(Settings()).environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert locate(Settings()).environment() == environment


def test_nothing_was_ever_started_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "new"))
    assert locate(Settings()).brokers == "127.0.0.1:9092"
