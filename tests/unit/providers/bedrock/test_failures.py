"""What each of Bedrock's errors means."""

import pytest

from processors.providers.bedrock.adapter import BedrockAdapter


@pytest.mark.parametrize(
    ("status", "body", "error_class"),
    [
        (400, b'{"message":"The provided model identifier is invalid."}', "invalid_request"),
        (400, b'{"message":"Input is too long for requested model."}', "context_exceeded"),
        (
            400,
            b'{"message":"The model returned the following errors: prompt is too long: 9 tokens > 8 maximum"}',
            "context_exceeded",
        ),
        (400, b'{"__type":"com.amazon.coral#ServiceQuotaExceededException","message":"x"}', "rate_limited"),
        (403, b'{"message":"The security token included in the request is invalid."}', "auth"),
        (403, b'{"Message":"User is not authorized to perform: bedrock:InvokeModel"}', "forbidden"),
        (404, b'{"message":"Could not resolve the foundation model"}', "no_such_model"),
        (408, b'{"message":"Model has timed out in processing the request."}', "provider_error"),
        (424, b'{"message":"The model failed.","originalStatusCode":500}', "provider_error"),
        (429, b'{"message":"Too many requests, please wait before trying again."}', "rate_limited"),
        (429, b'{"message":"Model is not ready for inference."}', "overloaded"),
        (500, b'{"message":"The system encountered an unexpected error."}', "provider_error"),
        (502, b'{"error":{"message":"a gateway"}}', "provider_error"),
        (503, b'{"message":"Bedrock is unable to process your request."}', "overloaded"),
    ],
)
def test_every_error(status: int, body: bytes, error_class: str) -> None:
    problem = BedrockAdapter().failure(status, None, body)
    assert problem.error.error_class == error_class
    assert problem.repeatable == (error_class in ("rate_limited", "overloaded"))
    assert problem.error.maybe_paid == (error_class == "provider_error")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>gateway</html>", b"\xff\xfe", b"[]", b'{"message":5,"__type":[]}', b'{"m":' + b"[" * 5000],
)
def test_any_form_of_error_body_is_told(body: bytes) -> None:
    problem = BedrockAdapter().failure(503, 700, body)
    assert problem.error.error_class == "overloaded" and problem.error.retry_after_ms == 700
    assert "HTTP 503" in problem.error.message
