"""Errors as chdb tells them, as ClickHouse does."""

import pytest

from streams.local.clickhouse_server.errors import UNKNOWN_EXCEPTION, EngineError, parse


@pytest.mark.parametrize(
    ("told", "code", "message", "name"),
    [
        ("Code: 60. DB::Exception: There is no x. (UNKNOWN_TABLE)", 60, "There is no x.", "UNKNOWN_TABLE"),
        (
            "Streaming query failed: Code: 395. DB::Exception: Value (a) is bad. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)",
            395,
            "Value (a) is bad.",
            "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
        ),
        (
            "Code: 164. DB::Exception: Code: 164. DB::Exception: Cannot modify 'x'. (READONLY) "
            "(version 26.9.2.1 (official build)). (READONLY)",
            164,
            "Cannot modify 'x'.",
            "READONLY",
        ),
        ("Code: 107. DB::ErrnoException: Cannot open. (FILE_DOESNT_EXIST)", 107, "Cannot open.", "FILE_DOESNT_EXIST"),
        ("Code: 27. DB::Exception: two\nlines: \n. (CANNOT_PARSE)", 27, "two\nlines: \n.", "CANNOT_PARSE"),
        ("something else", UNKNOWN_EXCEPTION, "something else", "UNKNOWN_EXCEPTION"),
        ("", UNKNOWN_EXCEPTION, "the engine failed without a message", "UNKNOWN_EXCEPTION"),
    ],
)
def test_parsed(told: str, code: int, message: str, name: str) -> None:
    error = parse(told)
    assert (error.code, error.message, error.name) == (code, message, name)
    assert error.text("26.9.2.1") == f"Code: {code}. DB::Exception: {message} ({name}) (version 26.9.2.1)"


STATUSES = {60: 404, 81: 404, 62: 400, 516: 403, 497: 403, 164: 500, 159: 408, 229: 413, 48: 501, 9999: 500}


@pytest.mark.parametrize(("code", "status"), STATUSES.items())
def test_status(code: int, status: int) -> None:
    assert EngineError(code, "x").status == status
