"""Published prices: found by the vendor's address, the same as the price list's own sums."""

import random
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from processors.pricing.cost import cost_of
from processors.pricing.forms import prices_of
from processors.pricing.published import published
from schemas.records import Usage

VENDORS = {
    "openai": ("https://api.openai.com/v1", ["gpt-5-mini", "gpt-4o-mini", "o3", "gpt-4.1"]),
    "anthropic": ("https://api.anthropic.com", ["claude-sonnet-4-5", "claude-haiku-4-5"]),
    "google": ("https://generativelanguage.googleapis.com/v1beta", ["gemini-2.5-pro", "gemini-2.5-flash"]),
    "aws": ("https://bedrock-runtime.us-east-1.amazonaws.com", ["us.anthropic.claude-sonnet-4-5-20250929-v1:0"]),
    "deepseek": ("https://api.deepseek.com", ["deepseek-chat", "deepseek-v4-pro"]),
    "mistral": ("https://api.mistral.ai/v1", ["mistral-large-2512"]),
    "groq": ("https://api.groq.com/openai/v1", ["openai/gpt-oss-20b"]),
}  # fmt: skip
TIERS: dict[str | None, dict[str, str] | None] = {
    None: None,
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
}


def drawn(rng: random.Random, vendor: str) -> dict[str, int]:
    counts = {
        "input_uncached": rng.choice([0, 1, 900, 250_000]),
        "cache_read": rng.choice([0, 700, 150_000]),
        "output": rng.choice([0, 1, 5000]),
    }
    if vendor in ("anthropic", "aws"):
        counts |= {"cache_write": 3000, "cache_write_1h": rng.choice([0, 1000])}
    if vendor == "google" and rng.random() < 0.5:
        counts |= {"audio_input": counts["input_uncached"] // 2}
    return counts


def theirs(counts: dict[str, int]) -> TheirUsage:
    read, write = counts["cache_read"], counts.get("cache_write", 0)
    told: dict[str, Any] = {
        "input_tokens": counts["input_uncached"] + read + write,
        "cache_read_tokens": read,
        "output_tokens": counts["output"],
    }
    if "cache_write" in counts:
        told |= {"cache_write_tokens": write, "cache_write_1h_tokens": counts["cache_write_1h"]}
    if "audio_input" in counts:
        told |= {"input_audio_tokens": counts["audio_input"], "cache_audio_read_tokens": 0}
    return TheirUsage(**told)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_cost_is_what_the_price_list_itself_makes_of_it(vendor: str) -> None:
    url, models = VENDORS[vendor]
    rng = random.Random(7)
    days = [datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 10, 13, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)]
    tiers_seen = 0
    for model in models:
        found = published(model, url)
        assert found is not None and found.prices, model
        made = prices_of(found.prices)
        assert made is not None
        for _ in range(60):
            counts, tier = drawn(rng, vendor), rng.choice([*TIERS])
            at = rng.choice(days).replace(hour=rng.randrange(24), minute=rng.randrange(60))
            told: dict[str, Any] = {**counts}
            cost = cost_of(Usage(**told), made, at_ms=int(at.timestamp() * 1000), tier=tier)
            if cost.dollars is None:  # no such tier on that day
                assert tier is not None
                continue
            tiers_seen += tier is not None
            wanted = calc_price(
                theirs(counts), model, provider_id=vendor, genai_request_timestamp=at, price_context=TIERS[tier]
            ).total_price  # fmt: skip
            assert cost.dollars == wanted.quantize(Decimal("1e-9"), ROUND_HALF_UP), (model, counts, tier, at)
            assert cost.version is not None and cost.version.startswith("genai-prices ")
    if vendor in ("openai", "anthropic", "google"):
        assert tiers_seen


def test_a_name_alone_has_no_price() -> None:
    assert published("gpt-4o", "http://127.0.0.1:8000/v1") is None
    assert published("gpt-4o", "http://127.0.0.1:8000/v1", "openai") is not None
    assert published("a-model-nobody-sells", "https://api.openai.com/v1") is None


def test_a_model_whose_output_cannot_be_told_apart_has_no_price() -> None:
    """Its images cost many times its text, and usage counts them together."""
    found = published("gemini-2.5-flash-image", "https://generativelanguage.googleapis.com/v1beta")
    assert found is not None and found.prices == []
