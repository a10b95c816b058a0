"""The server's two users, and how a request says who it is."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streams.local.clickhouse_server import errors

ADMIN: Final = "default"
ANALYST: Final = "analyst"


class PasswordUnreadable(RuntimeError):
    """A password file can't be used. The message says why."""


@dataclass(frozen=True)
class Users:
    """Passwords by user; None means that any password is right, as on a server for a user without one."""

    passwords: Mapping[str, str | None] = field(repr=False)

    @classmethod
    def from_files(cls, admin: Path | None, analyst: Path | None) -> "Users":
        """Passwords from files (one line each); no file, no password. Raises PasswordUnreadable."""
        return cls({ADMIN: _read(admin), ANALYST: _read(analyst)})

    def authenticate(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """The user who asks. Raises EngineError AUTHENTICATION_FAILED."""
        user, given = _claim(headers, query)
        known = user in self.passwords
        wanted = self.passwords.get(user, "")
        given_bytes = given.encode("utf-8", "surrogateescape")
        right = wanted is None or hmac.compare_digest(wanted.encode(), given_bytes)
        if not (known and right):
            message = f"{user}: Authentication failed: password is incorrect, or there is no such user"
            raise errors.EngineError(errors.AUTHENTICATION_FAILED, message)
        return user


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        password = path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PasswordUnreadable(f"Can't read the password in {path}: {error}") from None
    if not password:
        raise PasswordUnreadable(f"{path} is empty: write the password into it, or leave the option away")
    return password


def _claim(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str]:
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", ADMIN) or ADMIN, headers.get("X-ClickHouse-Key", "")
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise errors.EngineError(errors.AUTHENTICATION_FAILED, "Invalid basic authentication") from None
        return user or ADMIN, password
    if scheme:
        message = f"'{scheme}' authentication is not supported: use Basic"
        raise errors.EngineError(errors.AUTHENTICATION_FAILED, message)
    return query.get("user", ADMIN) or ADMIN, query.get("password", "")
