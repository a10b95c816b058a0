"""The wait that a provider asks for, in every form in which vendors tell it."""

import email.utils

import pytest

from processors.providers.waits import retry_after_ms

NOW = 1_700_000_000_000  # 2023-11-14T22:13:20Z


def test_retry_after_in_every_form() -> None:
    date = email.utils.formatdate(1_700_000_030, usegmt=True)
    assert retry_after_ms({"retry-after": "2"}, NOW) == 2000
    assert retry_after_ms({"retry-after": "0.5"}, NOW) == 500
    assert retry_after_ms({"retry-after-ms": "750", "retry-after": "2"}, NOW) == 750
    assert retry_after_ms({"retry-after": date}, NOW) == 30_000
    assert retry_after_ms({}, NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        "soon", "-1", "nan", "inf", "99999999", "",
        "Wed, 21 Oct 2015 07:28:00 +99999999999999999999", "Mon, 01 Jan 0001 00:00:00 +2300",
    ],
)  # fmt: skip
def test_a_wait_that_can_t_be_meant_is_no_wait(value: str) -> None:
    for header in ("retry-after", "x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"):
        assert retry_after_ms({header: value}, 0) is None


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"x-ratelimit-reset-requests": "1s"}, 1000),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360_000),
        ({"x-ratelimit-reset-tokens": "7.66s"}, 7660),
        ({"x-ratelimit-reset-tokens": "120ms"}, 120),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3_723_500),
        ({"x-ratelimit-reset-tokens": "12"}, 12_000),
        ({"x-ratelimit-reset": "1700000007000"}, 7000),
        ({"x-ratelimit-reset": "1700000007"}, 7000),
        ({"x-ratelimit-reset": "15"}, 15_000),
        ({"anthropic-ratelimit-requests-reset": "2023-11-14T22:13:29Z"}, 9000),
        ({"anthropic-ratelimit-requests-reset": "2023-11-14T22:13:00Z"}, 0),
        ({"anthropic-ratelimit-requests-reset": "2023-11-14T22:13:29"}, None),
        ({"retry-after": "3", "x-ratelimit-reset-requests": "50s"}, 3000),
    ],
)
def test_reset_headers_of_vendors(headers: dict[str, str], wait_ms: int | None) -> None:
    assert retry_after_ms(headers, NOW) == wait_ms


def test_the_limit_that_is_used_up_counts() -> None:
    openai = {
        "x-ratelimit-remaining-requests": "99", "x-ratelimit-reset-requests": "50s",
        "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2s",
    }  # fmt: skip
    assert retry_after_ms(openai, NOW) == 2000
    assert retry_after_ms(openai | {"x-ratelimit-remaining-requests": "0"}, NOW) == 50_000
    assert retry_after_ms(openai | {"x-ratelimit-remaining-tokens": "5"}, NOW) is None
    assert retry_after_ms(openai | {"x-ratelimit-reset-images": "40s"}, NOW) == 2000
    anthropic = {
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2023-11-14T22:13:24Z",
        "anthropic-ratelimit-requests-remaining": "10",
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:14:20Z",
    }
    assert retry_after_ms(anthropic, NOW) == 4000
