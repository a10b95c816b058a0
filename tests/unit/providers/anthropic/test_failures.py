"""What each of Anthropic's errors means."""

import pytest

from processors.providers.anthropic.adapter import AnthropicAdapter
from processors.providers.anthropic.wire import ERRORS, error_of
from processors.providers.failures import kind_of
from tests.fuzz_providers import FIXTURES


@pytest.mark.parametrize(
    ("status", "name", "error_class", "follows"),
    [
        (400, "invalid", "invalid_request", "invalid"),
        (400, "context", "context_exceeded", "context_exceeded"),
        (400, "own_spend_limit", "spend_limit", "spend_limit"),
        (401, "authentication", "auth", "auth_failed"),
        (402, "billing", "spend_limit", "spend_limit"),
        (404, "not_found", "no_such_model", "invalid"),
        (404, "invalid", "no_such_model", "invalid"),
        (429, "rate_limit", "rate_limited", "retry"),
        (429, "tier_spend_limit", "spend_limit", "spend_limit"),
        (500, "api", "provider_error", "retry"),
        (529, "overloaded", "overloaded", "busy"),
    ],
)
def test_every_error(status: int, name: str, error_class: str, follows: str) -> None:
    body = (FIXTURES / "anthropic" / f"error_{name}.json").read_bytes()
    problem = AnthropicAdapter().failure(status, 1500, body)
    assert problem.error.error_class == error_class and problem.error.retry_after_ms == 1500
    codes, message = error_of(body)
    assert kind_of(status, codes, ERRORS).follows == follows
    assert message in problem.error.message and str(status) in problem.error.message
    assert problem.repeatable == (error_class in ("rate_limited", "overloaded"))
    assert problem.error.maybe_paid == (error_class == "provider_error")


def test_a_spend_limit_is_never_tried_again_by_itself() -> None:
    body = (FIXTURES / "anthropic" / "error_tier_spend_limit.json").read_bytes()
    problem = AnthropicAdapter().failure(429, None, body)
    assert not problem.repeatable and not problem.error.retriable


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>gateway</html>", b"\xff\xfe", b"[]", b'{"error":5}', b'{"error":"words"}',
        b'{"error":{"type":5,"message":[],"details":"x"}}', b'{"error":{"details":{"error_code":[]}}}',
        b'{"error":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"error":{"message":"\\ud800"}}',
    ],
)  # fmt: skip
def test_any_form_of_error_body_is_told(body: bytes) -> None:
    problem = AnthropicAdapter().failure(503, None, body)
    assert problem.error.error_class == "overloaded" and "HTTP 503" in problem.error.message
