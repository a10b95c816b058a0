"""Records of the configuration's topic: what a row tells, and that no secret gets into it."""

from contextlib import suppress

import msgspec
import pytest

from schemas.config import Config
from schemas.signals import Invalid
from sinks.config_record import HIDDEN, ConfigRecord, read
from sinks.tables import CONFIG_VERSIONS
from tests.unit.sinks.test_rows import AT, made

SECRET = "hunter2"
CONFIG = Config.model_validate(
    {
        "providers": {
            "vendor": {
                "kind": "openai",
                "base_url": "https://example.com/v1",
                "api_keys": ["env:VENDOR_KEY", {"secret": "file:/run/key", "name": "spare"}],
                "headers": {"X-Team": SECRET, "X-Other": "env:OTHER"},
            }
        },
        "models": {"small": {"provider": "vendor", "vendor_model": "small-1"}},
        "tenants": {"acme": {}},
        "routes": [{"models": ["small"]}],
    }
)


def test_a_version_keeps_its_references_and_shows_nothing_that_may_be_a_secret() -> None:
    record = read(CONFIG.content_hash().encode(), CONFIG.to_json())
    assert (record.event, record.version, record.matches) == ("published", CONFIG.content_hash(), True)
    assert SECRET not in record.content
    provider = msgspec.json.decode(record.content)["providers"]["vendor"]
    assert [key["secret"] for key in provider["api_keys"]] == ["env:VENDOR_KEY", "file:/run/key"]
    assert provider["api_keys"][1]["name"] == "spare"
    assert provider["headers"] == {"X-Team": HIDDEN, "X-Other": "env:OTHER"}
    assert Config.model_validate_json(record.content).models == CONFIG.models


@pytest.mark.parametrize("field", ["api_key", "client_secret", "session_token", "password", "credentials"])
def test_a_value_in_a_secrets_place_is_hidden_unless_it_is_a_reference(field: str) -> None:
    for value, shown in ((SECRET, HIDDEN), ("env:NAME", "env:NAME"), (f"env:NAME {SECRET}", HIDDEN)):
        content = msgspec.json.encode({"later": [{field: value}]})
        assert msgspec.json.decode(read(b"v", content).content) == {"later": [{field: shown}]}


def test_an_address_shows_neither_user_nor_query() -> None:
    content = msgspec.json.encode(
        {"url": f"https://me:{SECRET}@example.com/v1?key={SECRET}", "doc": "see a://b"}
    )
    shown = {"url": f"https://{HIDDEN}@example.com/v1?{HIDDEN}", "doc": "see a://b"}
    assert msgspec.json.decode(read(b"v", content).content) == shown


def test_what_is_said_of_a_version_without_content() -> None:
    assert read(b"active", b"abc") == ConfigRecord("activated", "abc")
    assert read(b"abc", None) == ConfigRecord("removed", "abc")
    assert not read(b"abc", b"{}").matches


@pytest.mark.parametrize(
    ("key", "value"),
    [(None, b"{}"), (b"", b"{}"), (b"v", b"{"), (b"v", b"[" * 100_000), (b"\xff", b"{}"), (b"active", b"\xff"),
     (b"active", None), (b"v", b'{"a": "\xff"}')],
)  # fmt: skip
def test_what_is_no_configuration_is_invalid(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(Invalid):
        read(key, value)


def test_its_row() -> None:
    row = made(read(b"active", b"abc"), AT._replace(topic="llm.config"))[CONFIG_VERSIONS.name]
    wanted = {
        "config_version": "abc",
        "event": "activated",
        "at": AT.timestamp,
        "content": "",
        "content_matches": True,
    }
    assert {k: row[k] for k in wanted} == wanted


@pytest.mark.parametrize("depth", [300, 600, 950])
def test_a_deep_configuration_is_read_or_invalid(depth: int) -> None:
    with suppress(Invalid):
        assert read(b"v", b"[" * depth + b"]" * depth).event == "published"
