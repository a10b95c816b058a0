"""Providers, keys and deployments in the configuration: what is taken, and what is told of what isn't."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.config import Config, Model, Provider
from streams.config_file import ConfigFileError, parse_config

FILE = """\
version: 1
providers:
  vendor:
    kind: openai
    preset: groq
    api_keys:
      - env:KEY_A
      - {secret: "file:/run/key", name: big, limits: {rpm: 100}}
    key_limits: {rpm: 10, concurrency: 4}
  cloud:
    kind: vertex
    project: my-project
    location: global
  signed:
    kind: bedrock
    region: eu-central-1
    auth: {type: aws, profile: work}
models:
  fast:
    deployments:
      - {provider: vendor, vendor_model: fast-1, weight: 3}
      - {provider: cloud, vendor_model: fast-2, name: reserve, weight: 0}
    unsupported: drop
    retires_at: 2027-01-31
    capabilities: {modalities: [text, image], tools: true}
tenants: {acme: {}}
routes: [{models: [fast]}]
content: {allowed_hosts: [files.example.com]}
"""


def test_pools_and_deployments_are_read() -> None:
    config = parse_config(FILE, "my.yaml", {})
    keys = config.providers["vendor"].keys
    assert [(key.secret, key.name) for key in keys] == [("env:KEY_A", "key-1"), ("file:/run/key", "big")]
    assert [key.limits and (key.limits.rpm, key.limits.concurrency) for key in keys] == [(10, 4), (100, None)]
    places = config.models["fast"].places
    assert [(place.id, place.weight) for place in places] == [("vendor/fast-1", 3), ("reserve", 0)]
    view = config.models["fast"].at(places[1])
    assert (view.provider, view.vendor_model, view.unsupported) == ("cloud", "fast-2", "drop")
    assert Config.model_validate_json(config.to_json()) == config


def test_the_short_form_is_one_place() -> None:
    model = Model.model_validate({"provider": "p", "vendor_model": "v"})
    assert [(place.id, place.provider, place.vendor_model) for place in model.places] == [("p/v", "p", "v")]


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        ({"kind": "openai"}, "needs api_key"),
        ({"kind": "anthropic"}, "needs api_key"),
        ({"kind": "azure"}, "'azure' needs base_url"),
        ({"kind": "openai", "preset": "vllm"}, "'vllm' needs base_url"),
        ({"kind": "vertex", "project": "p"}, "needs location"),
        ({"kind": "vertex"}, "needs project and location"),
        ({"kind": "bedrock"}, "needs region"),
        ({"kind": "bedrock", "base_url": "https://gate"}, "give region"),
        ({"kind": "openai", "base_url": "https://gate", "auth": "aws"}, "give region"),
        ({"kind": "anthropic", "api_key": "env:A", "preset": "groq"}, "only a provider of kind 'openai'"),
        ({"kind": "openai", "api_key": "env:A", "api_keys": ["env:B"]}, "not both"),
        ({"kind": "openai", "api_keys": [{"secret": "env:A", "name": "key-2"}, "env:B"]}, "same name"),
        ({"kind": "openai", "base_url": "https://user:secret@host"}, "no user, password or query"),
        ({"kind": "openai", "base_url": "https://host/v1?key=secret"}, "no user, password or query"),
        (
            {"kind": "vertex", "project": "p", "location": "l", "auth": {"type": "google", "profile": "x"}},
            "profile",
        ),
        (
            {"kind": "bedrock", "region": "r", "auth": {"type": "aws", "access_key_id": "env:A"}},
            "belong together",
        ),
        (
            {"kind": "azure", "base_url": "https://a", "auth": {"type": "entra", "client_id": "c"}},
            "belong together",
        ),
    ],
)
def test_what_a_provider_lacks_is_told(provider: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Provider.model_validate(provider)


@pytest.mark.parametrize(
    ("provider", "auth"),
    [
        ({"kind": "openai", "base_url": "http://localhost:8000/v1"}, "key"),
        ({"kind": "azure", "base_url": "https://a"}, "entra"),
        ({"kind": "azure", "base_url": "https://a", "api_key": "env:A"}, "key"),
        ({"kind": "vertex", "project": "p", "location": "l"}, "google"),
        ({"kind": "bedrock", "region": "r"}, "aws"),
        ({"kind": "bedrock", "region": "r", "api_key": "env:A"}, "key"),
        ({"kind": "openai", "base_url": "http://x", "auth": "none"}, "none"),
        ({"kind": "dummy"}, "none"),
    ],
)
def test_calls_are_authorised_as_the_vendor_usually_does(provider: dict[str, Any], auth: str) -> None:
    assert Provider.model_validate(provider).auth_type == auth


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        ({"kind": "openai", "api_key": "env:A"}, "https://api.openai.com/v1"),
        ({"kind": "bedrock", "region": "eu-west-1"}, "https://bedrock-runtime.eu-west-1.amazonaws.com"),
        (
            {"kind": "vertex", "project": "p", "location": "europe-west4"},
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4",
        ),
        (
            {"kind": "vertex", "project": "p", "location": "global"},
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global",
        ),
        ({"kind": "vertex", "base_url": "https://gate/{project}/", "project": "p"}, "https://gate/p"),
    ],
)
def test_vendors_are_where_they_usually_are(provider: dict[str, Any], url: str) -> None:
    assert Provider.model_validate(provider).url() == url


def faults(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigFileError) as caught:
        parse_config(text, "my.yaml", {})
    assert "hunter2" not in str(caught.value)
    return [(fault.line, fault.field, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "told"),
    [
        ("- env:KEY_A", "- hunter2", 7, "providers.vendor.api_keys[0].secret", "give a reference"),
        ("file:/run/key", "hunter2", 8, "providers.vendor.api_keys[1].secret", "give a reference"),
        (
            "profile: work",
            "access_key_id: hunter2",
            17,
            "providers.signed.auth.access_key_id",
            "give a reference",
        ),
        (
            "- {provider: vendor,",
            "- {provider: vendr,",
            21,
            "models.fast.deployments[0].provider",
            "no provider 'vendr'",
        ),
        ("name: reserve", "name: vendor/fast-1", 20, "models.fast.deployments", "two have the same name"),
        (
            "unsupported: drop",
            "provider: vendor",
            23,
            "models.fast.provider",
            "give it, or deployments, not both",
        ),
        ("unsupported: drop", "unsupported: ignore", 23, "models.fast.unsupported", "drop"),
        ("kind: vertex", "kind: vertx", 11, "providers.cloud.kind", "vertex"),
    ],
)
def test_faults_are_told_with_line_and_field(old: str, new: str, line: int, field: str, told: str) -> None:
    [fault] = faults(FILE.replace(old, new))
    assert fault[:2] == (line, field) and told in fault[2]


def test_secrets_in_a_pool_are_not_replaced_from_variables() -> None:
    told = faults(FILE.replace("env:KEY_A", "${KEY_A}"))
    assert told[0][1].startswith("providers.vendor.api_keys") and "give a reference" in told[0][2]
