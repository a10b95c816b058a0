"""ClickHouse's errors: their codes, their texts and the HTTP status that a server answers with."""

import re
from typing import Final

UNSUPPORTED_METHOD: Final = 1
BAD_ARGUMENTS: Final = 36
NOT_IMPLEMENTED: Final = 48
UNKNOWN_TABLE: Final = 60
SYNTAX_ERROR: Final = 62
READONLY: Final = 164
TOO_MANY_SIMULTANEOUS_QUERIES: Final = 202
QUERY_ID_IN_USE: Final = 216
QUERY_IS_TOO_LARGE: Final = 229
NOT_ENOUGH_SPACE: Final = 243
INTO_OUTFILE_NOT_ALLOWED: Final = 358
SESSION_NOT_FOUND: Final = 372
SESSION_IS_LOCKED: Final = 373
CANNOT_DECOMPRESS: Final = 271
ACCESS_DENIED: Final = 497
AUTHENTICATION_FAILED: Final = 516
UNKNOWN_EXCEPTION: Final = 1002

NAMES: Final = {
    UNSUPPORTED_METHOD: "UNSUPPORTED_METHOD",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    UNKNOWN_TABLE: "UNKNOWN_TABLE",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    READONLY: "READONLY",
    TOO_MANY_SIMULTANEOUS_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
    QUERY_ID_IN_USE: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    NOT_ENOUGH_SPACE: "NOT_ENOUGH_SPACE",
    INTO_OUTFILE_NOT_ALLOWED: "INTO_OUTFILE_NOT_ALLOWED",
    SESSION_NOT_FOUND: "SESSION_NOT_FOUND",
    SESSION_IS_LOCKED: "SESSION_IS_LOCKED",
    CANNOT_DECOMPRESS: "CANNOT_DECOMPRESS",
    ACCESS_DENIED: "ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    UNKNOWN_EXCEPTION: "UNKNOWN_EXCEPTION",
}

# What a server answers with, by error code; 500 for every other. The public table of ClickHouse's HTTP interface.
_STATUSES: Final = {
    400: (6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    411: (381,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 209, 439),
}
_STATUS_BY_CODE: Final = {code: status for status, codes in _STATUSES.items() for code in codes}

_PREFIX = re.compile(r"Code: (\d+)\. DB::\w*Exception: ")
_VERSION = re.compile(r" \(version [^()]*(?:\([^()]*\))?\)\.?")


class EngineError(Exception):
    """A failure as ClickHouse tells it: `code` is ClickHouse's, `message` the text without code or name."""

    def __init__(self, code: int, message: str, name: str | None = None) -> None:
        self.code = code
        self.message = message
        self.name = name or NAMES.get(code, "")
        super().__init__(self.text())

    @property
    def status(self) -> int:
        """The HTTP status that a ClickHouse server answers with for this error."""
        return _STATUS_BY_CODE.get(self.code, 500)

    def text(self, version: str = "") -> str:
        """The error's text in ClickHouse's form, closed by the server's version where one is given."""
        name = f" ({self.name})" if self.name else ""
        return f"Code: {self.code}. DB::Exception: {self.message}{name}" + (f" (version {version})" if version else "")


def parse(text: str) -> EngineError:
    """The error in what chdb raised, whose text may hold prefixes of chdb's own and the same code twice."""
    found = _PREFIX.search(text)
    if found is None:
        return EngineError(UNKNOWN_EXCEPTION, text.strip() or "the engine failed without a message")
    message = text[found.end() :]
    while again := _PREFIX.match(message):
        message = message[again.end() :]
    message = _VERSION.sub("", message).strip()
    name = None
    while closing := re.search(r"\s*\(([A-Z][A-Z0-9_]{2,})\)\.?$", message):
        name, message = closing[1], message[: closing.start()].rstrip()
    return EngineError(int(found[1]), message, name)
