"""What each of Google's errors means."""

import pytest

from processors.providers.failures import kind_of
from processors.providers.gemini.adapter import ERRORS, GeminiAdapter, VertexAdapter
from processors.providers.gemini.errors import error_of
from tests.fuzz_providers import FIXTURES

CASES = [
    ("gemini/error_api_key", 400, "auth", "auth_failed", None),
    ("gemini/error_context", 400, "context_exceeded", "context_exceeded", None),
    ("gemini/error_invalid", 400, "invalid_request", "invalid", None),
    ("gemini/error_location", 400, "auth", "auth_failed", None),
    ("gemini/error_prepaid", 402, "spend_limit", "spend_limit", None),
    ("gemini/error_permission", 403, "auth", "auth_failed", None),
    ("gemini/error_model", 404, "no_such_model", "invalid", None),
    ("gemini/error_quota_minute", 429, "rate_limited", "retry", 45_837),
    ("gemini/error_quota_day", 429, "spend_limit", "spend_limit", None),
    ("gemini/error_internal", 500, "provider_error", "retry", None),
    ("gemini/error_overloaded", 503, "overloaded", "busy", None),
    ("gemini/error_deadline", 504, "provider_error", "retry", None),
    ("vertex/error_exhausted", 429, "rate_limited", "retry", None),
    ("vertex/error_unauthenticated", 401, "auth", "auth_failed", None),
]


@pytest.mark.parametrize(("name", "status", "error_class", "follows", "wait_ms"), CASES)
def test_every_error(name: str, status: int, error_class: str, follows: str, wait_ms: int | None) -> None:
    body = (FIXTURES / f"{name}.json").read_bytes()
    adapter = VertexAdapter() if name.startswith("vertex") else GeminiAdapter()
    problem = adapter.failure(status, None, body)
    assert (problem.error.error_class, problem.error.retry_after_ms) == (error_class, wait_ms)
    seen = error_of(body)
    assert kind_of(status, seen.codes, ERRORS).follows == follows
    assert seen.message[:100] in problem.error.message and str(status) in problem.error.message
    assert problem.repeatable == (error_class in ("rate_limited", "overloaded"))
    assert problem.error.maybe_paid == (error_class == "provider_error")


def test_a_wait_in_the_headers_goes_before_one_in_the_body() -> None:
    body = (FIXTURES / "gemini/error_quota_minute.json").read_bytes()
    assert GeminiAdapter().failure(429, 1500, body).error.retry_after_ms == 1500


@pytest.mark.parametrize(
    ("delay", "wait_ms"),
    [
        ("0s", 0),
        ("3.5s", 3500),
        ("86401s", None),
        ("-1s", None),
        ("soon", None),
        ("nans", None),
        ("infs", None),
    ],
)
def test_waits(delay: str, wait_ms: int | None) -> None:
    body = b'{"error":{"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"%s"}]}}' % delay.encode()
    assert error_of(body).wait_ms == wait_ms


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>gateway</html>", b"\xff\xfe", b"[]", b"[[]]", b'{"error":5}', b'{"error":"words"}',
        b'{"error":{"status":5,"message":[],"details":"x"}}', b'{"error":{"status":"UNAVAILABLE","details":[5]}}',
        b'{"error":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"error":{"message":"\\ud800"}}',
    ],
)  # fmt: skip
def test_any_form_of_error_body_is_told(body: bytes) -> None:
    problem = GeminiAdapter().failure(503, None, body)
    assert problem.error.error_class == "overloaded" and "HTTP 503" in problem.error.message


def test_details_of_another_form_leave_the_status_readable() -> None:
    seen = error_of(b'{"error":{"status":"UNAVAILABLE","message":"busy","details":[5]}}')
    assert (seen.codes, seen.message) == (("UNAVAILABLE",), "busy")
