"""A configuration file: what is right is loaded; what is wrong is told by line, all at once, secrets never."""

from decimal import Decimal
from pathlib import Path

import pytest

from schemas.config import Config
from streams.config_file import ConfigFileError, load_config, parse_config

GOOD = """\
version: 1
defaults: {lane: batch}
providers:
  vendor:
    kind: openai
    base_url: ${VENDOR_URL}/v1
    api_key: env:VENDOR_KEY
    headers: {x-team: "$${team}"}
models:
  fast:
    provider: vendor
    vendor_model: fast-1
    aliases: [quick]
    price: {input: 0.05, output: "0.10"}
tenants:
  acme: {reply_topics: [acme.replies]}
routes:
  - task_type: chat
    models: [quick]
  - models: [fast]
"""
VARIABLES = {"VENDOR_URL": "https://vendor.example"}
REPOSITORY = Path(__file__).parents[2]


def faults(text: str, variables: dict[str, str] = VARIABLES) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigFileError) as caught:
        parse_config(text, "my.yaml", variables)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.faults)
    for line, fault in zip(lines, caught.value.faults, strict=True):
        assert line.startswith(f"my.yaml:{fault.line}: ")
        assert fault.field in line and fault.message in line
    return [(fault.line, fault.field, fault.message) for fault in caught.value.faults]


def test_a_right_file_is_loaded() -> None:
    config = parse_config(GOOD, "my.yaml", VARIABLES)
    assert config.providers["vendor"].base_url == "https://vendor.example/v1"
    assert config.providers["vendor"].api_key == "env:VENDOR_KEY"
    assert config.providers["vendor"].headers == {"x-team": "${team}"}
    assert config.resolve("quick") == "fast"
    price = config.models["fast"].price
    assert price is not None and (price.input, price.output) == (Decimal("0.05"), Decimal("0.10"))
    assert Config.model_validate_json(config.to_json()).content_hash() == config.content_hash()


def test_every_shipped_configuration_is_right() -> None:
    files = sorted((REPOSITORY / "config").glob("*.yaml"))
    assert files
    for file in files:
        assert load_config(file, {"SLUICE_MODEL_URL": "http://127.0.0.1:1/v1"}).models


def test_every_fault_is_told_at_once_with_its_line() -> None:
    text = (
        GOOD.replace("lane: batch", "lane: fast")
        .replace("    vendor_model: fast-1\n", "")
        .replace("aliases: [quick]", "alias: [quick]")
        .replace("input: 0.05", "input: -1")
        .replace("${VENDOR_URL}", "${NOWHERE}")
    )
    assert [(line, field) for line, field, _ in faults(text)] == [
        (2, "defaults.lane"),
        (6, "providers.vendor.base_url"),
        (10, "models.fast.vendor_model"),
        (12, "models.fast.alias"),
        (13, "models.fast.price.input"),
    ]
    messages = [message for _, _, message in faults(text)]
    assert "'interactive', 'standard' or 'batch'" in messages[0]
    assert "set the variable NOWHERE" in messages[1]
    assert "missing: add it" in messages[2]
    assert "is aliases meant?" in messages[3]
    assert "greater than or equal to 0" in messages[4]


def test_every_wrong_reference_is_told_with_its_line() -> None:
    text = GOOD.replace("provider: vendor", "provider: vendr").replace(
        "[quick]\n  - models: [fast]", "[quack]"
    )
    assert faults(text) == [
        (11, "models.fast.provider", "no provider 'vendr' is configured"),
        (19, "routes[0].models", "no model or alias 'quack' is configured"),
    ]


def test_a_key_given_twice_is_a_fault() -> None:
    text = GOOD + "tenants:\n  other: {}\n"
    assert (21, "tenants", "is given twice: also on line 15") in faults(text)
    inner = GOOD.replace("    provider: vendor\n", "    provider: vendor\n    provider: other\n")
    assert (12, "models.fast.provider", "is given twice: also on line 11") in faults(inner)


def test_merged_keys_are_no_repetition() -> None:
    text = GOOD.replace(
        "  acme: {reply_topics: [acme.replies]}", "  acme: &t {default_lane: batch}\n  b: {<<: *t}"
    )
    assert parse_config(text, "my.yaml", VARIABLES).tenants["b"].default_lane == "batch"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: [1,\nb: 2", 2, "not valid YAML"),
        ("a: 'open", 1, "not valid YAML"),
        ("a: \x00", 1, "not valid YAML"),
        ("a: !!python/object:os.system x", 1, "not valid YAML"),
        ("a: &x\n  b: *x", 1, "an alias refers to what it is part of"),
        ("- 1", 1, "must hold the fields"),
        ("", 1, "missing: add it"),
        ("? [1]\n: 2", 1, "a key is not a plain text"),
        ("a: 1\n---\na: 2", 2, "not valid YAML"),
    ],
)
def test_what_is_no_configuration_says_so(text: str, line: int, message: str) -> None:
    found = faults(text)
    assert message in found[0][2]
    assert found[0][0] == line


def test_a_bomb_of_aliases_ends() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "more than 100000 values" in faults("\n".join(lines))[0][2]


SECRET = "sk-hidden-0123456789"


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("env:VENDOR_KEY", SECRET),
        GOOD.replace("env:VENDOR_KEY", "${VENDOR_KEY}"),
        GOOD.replace("x-team:", f"authorization: Bearer {SECRET}, x-team:"),
        GOOD.replace("x-team:", "X-Api-Key: '${VENDOR_KEY}', x-team:"),
        GOOD.replace("kind: openai", f"{{kind: {SECRET}"),
        GOOD.replace("kind: openai", f"kind: {SECRET}"),
        GOOD.replace("acme:", f"{{{SECRET}}}: 3\n  acme:"),
    ],
)
def test_a_secret_is_refused_and_never_shown(text: str) -> None:
    found = faults(text, {**VARIABLES, "VENDOR_KEY": SECRET})
    assert SECRET not in repr(found)


def test_a_secret_field_says_how_to_give_it() -> None:
    found = faults(GOOD.replace("env:VENDOR_KEY", SECRET))
    assert found == [
        (7, "providers.vendor.api_key", "give a reference (env:NAME or file:PATH), never the secret itself")
    ]


def test_a_secret_field_is_not_filled_in() -> None:
    """What stands in a variable could be the secret itself: only the reference belongs into the file."""
    found = faults(
        GOOD.replace("env:VENDOR_KEY", "${REFERENCE}"), {**VARIABLES, "REFERENCE": "env:VENDOR_KEY"}
    )
    assert [fault[:2] for fault in found] == [(7, "providers.vendor.api_key")]


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match=r"none\.yaml:1: can't be read: No such file"):
        load_config(tmp_path / "none.yaml", {})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigFileError, match="is not UTF-8"):
        load_config(tmp_path / "latin.yaml", {})
