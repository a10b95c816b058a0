"""The table of failures."""

import pytest

from processors.providers.adapters import error_tables
from processors.providers.failures import (
    AUTH,
    COMMON,
    CONTENT_FILTER,
    CONTEXT_EXCEEDED,
    INVALID_REQUEST,
    NO_SUCH_MODEL,
    OVERLOADED,
    RATE_LIMITED,
    SPEND_LIMIT,
    Errors,
    kind_of,
    stream_failure,
)
from processors.providers.openai.adapter import OpenAiAdapter

KINDS = {
    kind.error_class: kind
    for kind in (
        AUTH, CONTENT_FILTER, CONTEXT_EXCEEDED, INVALID_REQUEST, NO_SUCH_MODEL, OVERLOADED, RATE_LIMITED, SPEND_LIMIT
    )
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code", "error_class", "retriable", "maybe_paid", "repeatable"),
    [
        (400, None, "invalid_request", False, False, False),
        (400, "context_length_exceeded", "context_exceeded", False, False, False),
        (400, "content_filter", "content_filter", False, False, False),
        (401, None, "auth", True, False, False),
        (403, None, "forbidden", True, False, False),
        (404, None, "no_such_model", True, False, False),
        (413, None, "context_exceeded", False, False, False),
        (418, None, "invalid_request", False, False, False),
        (422, None, "invalid_request", False, False, False),
        (429, None, "rate_limited", True, False, True),
        (402, None, "spend_limit", False, False, False),
        (429, "insufficient_quota", "spend_limit", False, False, False),
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


VENDOR = {(None, "teapot"): SPEND_LIMIT, (400, "busy"): OVERLOADED, (503, None): RATE_LIMITED}


@pytest.mark.parametrize(
    ("status", "codes", "error_class"),
    [
        (418, "teapot", "spend_limit"),
        (500, "teapot", "provider_error"),
        (400, "busy", "overloaded"),
        (404, "busy", "no_such_model"),
        (503, None, "rate_limited"),
        (429, None, "rate_limited"),
        (400, ("unknown", "teapot"), "spend_limit"),
        (400, (None, None), "invalid_request"),
        (400, ("context_length_exceeded", "busy"), "overloaded"),
        (None, "teapot", "spend_limit"),
        (None, "unheard_of", "provider_error"),
    ],
)
def test_a_vendor_s_table_goes_before_what_is_common(
    status: int | None, codes: str | tuple[str | None, ...] | None, error_class: str
) -> None:
    assert kind_of(status, codes, VENDOR).error_class == error_class


def test_an_error_inside_a_stream_may_be_paid_whatever_it_says() -> None:
    for code in ("teapot", "insufficient_quota", "rate_limit_exceeded", None):
        problem = stream_failure(code, "m", VENDOR)
        assert problem.error.maybe_paid and not problem.repeatable


@pytest.mark.parametrize(("vendor", "table"), [*error_tables().items(), ("common", COMMON)])
def test_every_row_of_the_table_holds_together(vendor: str, table: Errors) -> None:
    """A class means the same whoever says it, and what may be paid is never called again by itself."""
    assert table, vendor
    for key, kind in table.items():
        if kind.error_class in KINDS:
            assert kind == KINDS[kind.error_class], f"{vendor} {key}"
        assert not (kind.maybe_paid and kind.repeatable), f"{vendor} {key}"
        assert kind.follows != "spend_limit" or not kind.retriable, f"{vendor} {key}"
