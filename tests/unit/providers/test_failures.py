"""The table of failures."""

import email.utils

import pytest

from processors.providers.failures import kind_of, retry_after_ms
from processors.providers.openai import OpenAiAdapter


@pytest.mark.parametrize(
    ("status", "code", "error_class", "retriable", "maybe_paid", "repeatable"),
    [
        (400, None, "invalid_request", False, False, False),
        (400, "context_length_exceeded", "context_exceeded", False, False, False),
        (400, "content_filter", "content_filter", False, False, False),
        (401, None, "auth", True, False, False),
        (403, None, "auth", True, False, False),
        (404, None, "no_such_model", True, False, False),
        (413, None, "context_exceeded", False, False, False),
        (418, None, "invalid_request", False, False, False),
        (422, None, "invalid_request", False, False, False),
        (429, None, "rate_limited", True, False, True),
        (429, "insufficient_quota", "rate_limited", True, False, False),
        (503, None, "overloaded", True, False, True),
        (529, None, "overloaded", True, False, True),
        (408, None, "provider_error", True, True, False),
        (500, None, "provider_error", True, True, False),
        (500, "content_filter", "provider_error", True, True, False),
        (502, None, "provider_error", True, True, False),
        (504, None, "provider_error", True, True, False),
        (302, None, "provider_error", True, True, False),
    ],
)
def test_every_status(
    status: int, code: str | None, error_class: str, retriable: bool, maybe_paid: bool, repeatable: bool
) -> None:
    kind = kind_of(status, code)
    assert (kind.error_class, kind.retriable, kind.maybe_paid, kind.repeatable) == (
        error_class, retriable, maybe_paid, repeatable
    )  # fmt: skip
    assert not (kind.maybe_paid and kind.repeatable), "what may be paid is never repeated inside call"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": {"message": "too long", "code": "context_length_exceeded"}}', "too long"),
        (b'{"error": "plain words"}', "plain words"),
        (b'{"message": "elsewhere"}', "elsewhere"),
        (b"<html>gateway</html>", "gateway"),
        (b"", "HTTP 400"),
        (b"\xff\xfe" * 10, "HTTP 400"),
        ('{"error": "clé refusée"}'.encode("latin-1"), "refus"),
        ('{"error": {"message": "clé refusée"}}'.encode("latin-1"), "refus"),
        (b'{"error": ' + b"[" * 5000 + b"]" * 5000 + b"}", "HTTP 400"),
    ],
)
def test_any_form_of_error_body_is_told(body: bytes, told: str) -> None:
    problem = OpenAiAdapter().failure(400, 1500, body)
    assert told in problem.error.message and problem.error.retry_after_ms == 1500


def test_retry_after_in_every_form() -> None:
    now_ms = 1_700_000_000_000
    date = email.utils.formatdate(1_700_000_030, usegmt=True)
    assert retry_after_ms({"retry-after": "2"}, now_ms) == 2000
    assert retry_after_ms({"retry-after": "0.5"}, now_ms) == 500
    assert retry_after_ms({"retry-after-ms": "750", "retry-after": "2"}, now_ms) == 750
    assert retry_after_ms({"retry-after": date}, now_ms) == 30_000
    assert retry_after_ms({}, now_ms) is None


@pytest.mark.parametrize(
    "value",
    [
        "soon", "-1", "nan", "inf", "99999999", "",
        "Wed, 21 Oct 2015 07:28:00 +99999999999999999999", "Mon, 01 Jan 0001 00:00:00 +2300",
    ],
)  # fmt: skip
def test_a_retry_after_that_makes_no_sense_is_none(value: str) -> None:
    assert retry_after_ms({"retry-after": value}, 0) is None
