"""A configuration completed from what is published: what the file tells stays, what it leaves out is filled in."""

from decimal import Decimal
from typing import Any

import pytest

from processors.catalogue.known import known_of
from processors.pricing.book import book_of
from schemas.config import Config
from streams.config_file import ConfigFileError, parse_config

PROVIDERS = """\
version: 1
providers:
  claude: {kind: anthropic, api_key: env:K}
  aws: {kind: bedrock, region: eu-central-1}
  openai: {kind: openai, api_key: env:K}
  gateway: {kind: openai, base_url: "http://gateway.internal", prices_of: openai}
  own: {kind: openai, base_url: "http://127.0.0.1:9", preset: vllm}
  dummy: {kind: dummy}
tenants: {acme: {}}
routes: [{models: [it]}]
models:
"""


def model(text: str, providers: str = PROVIDERS) -> Any:
    return parse_config(f"{providers}  it: {text}\n", "my.yaml", {}).models["it"]


def test_a_vendors_model_gets_its_prices_window_and_capabilities() -> None:
    found = model("{provider: openai, vendor_model: gpt-5-mini}")
    assert (found.context_window, found.max_output_tokens) == (400_000, 128_000)
    assert found.capabilities.modalities == ["text", "image", "document"] and found.capabilities.reasoning
    price = found.prices[-1]
    assert (price.input, price.output) == (Decimal("0.25"), Decimal(2))
    assert price.source.startswith("genai-prices ")


def test_what_the_file_tells_stays() -> None:
    found = model(
        "{provider: openai, vendor_model: gpt-5-mini, price: {input: 1, output: 2}, context_window: 5000,"
        " max_output_tokens: 7, capabilities: {modalities: [text]}}"
    )
    assert (found.context_window, found.max_output_tokens, found.prices) == (5000, 7, [])
    assert found.capabilities.modalities == ["text"] and found.capabilities.tools


def test_a_name_at_ones_own_server_says_nothing() -> None:
    for provider in ("own", "dummy"):
        found = model(f"{{provider: {provider}, vendor_model: gpt-4o}}")
        assert (found.prices, found.context_window, found.capabilities.tools) == ([], 128_000, None)


def test_a_gateway_has_the_prices_of_the_vendor_it_names() -> None:
    assert model("{provider: gateway, vendor_model: gpt-4o}").prices
    wrong = PROVIDERS.replace("prices_of: openai", "prices_of: nobody")
    with pytest.raises(ConfigFileError, match=r"my.yaml:6: providers.gateway.prices_of: no published prices"):
        model("{provider: gateway, vendor_model: gpt-4o}", wrong)


def test_each_deployment_has_its_own_prices_and_the_model_what_all_of_them_can() -> None:
    found = model(
        "{deployments: [{provider: claude, vendor_model: claude-sonnet-4-5},"
        ' {provider: aws, vendor_model: "eu.anthropic.claude-opus-4-1-20250805-v1:0"}]}'
    )
    first, second = (found.prices_at(place)[-1].input for place in found.places)
    assert first != second
    assert found.max_output_tokens == 32_000, "the smaller of the two"
    assert found.capabilities.json_schema is None, "not known of the second"


def test_the_whole_travels_in_the_configuration() -> None:
    """Workers read prices there alone, and its version stands for them."""
    config = parse_config(f"{PROVIDERS}  it: {{provider: openai, vendor_model: gpt-5-mini}}\n", "my.yaml", {})
    again = Config.model_validate_json(config.to_json())
    assert again == config and again.content_hash() == config.content_hash()
    told = {**config.models["it"].model_dump(), "prices": []}
    other = config.model_copy(update={"models": {"it": type(config.models["it"])(**told)}})
    assert other.content_hash() != config.content_hash()
    assert book_of(again)["it"]["openai/gpt-5-mini"] is not None
    assert book_of(other)["it"]["openai/gpt-5-mini"] is None


@pytest.mark.parametrize(
    "name",
    ["gpt-4o-audio-preview", "o3-mini", "gemini-2.5-flash-image", "claude-opus-5-5", "gpt-5.2", "my-gpt-4o", ""],
)
def test_a_name_it_was_not_made_for_is_not_known(name: str) -> None:
    assert known_of(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o-2024-08-06", "claude-sonnet-4-5@20250929", "us.anthropic.claude-opus-4-1-20250805-v1:0",
        "anthropic/claude-sonnet-4", "publishers/google/models/gemini-2.5-pro", "claude-3-7-sonnet-latest",
    ],
)  # fmt: skip
def test_a_name_with_a_date_a_region_or_a_path_is_the_same_model(name: str) -> None:
    assert known_of(name) is not None
