"""The process's settings. This is the only module that reads the environment (prefix `SLUICE_`)."""

import os
from functools import cache
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from processors.providers.redact import SECRETS


class Settings(BaseSettings):
    """Where the parts are and how this process runs; every field is `SLUICE_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_", extra="ignore")

    brokers: str = "127.0.0.1:9092"
    registry_url: str | None = None
    clickhouse_url: str = "http://127.0.0.1:8123"
    clickhouse_user: str = "default"
    clickhouse_password: SecretStr = SecretStr("")
    clickhouse_database: str = "sluice"
    app_id: str = "sluice"
    home: Path = Path.home() / ".sluice"
    cache_dir: Path = Path.home() / ".cache" / "sluice"
    well_known_ports: bool = True
    web_host: str = "127.0.0.1"
    web_port: int = 0
    worker_name: str = ""
    drain_timeout_s: float = 60
    reconcile_every_s: float = 3600
    reconcile_fresh_s: float = 300
    session_timeout_ms: int = 8000
    crash_point: str = ""


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()


def resolve_secret(reference: str) -> str:
    """The value behind `env:NAME` or `file:PATH`, for a header. From then on no log line shows it.

    Spaces and line ends around it aren't part of it. Raises ValueError, which names the reference and never a
    value, when there is nothing behind it, or something that no HTTP header can hold.
    """
    value = _behind(reference)
    if not value.isprintable():
        raise ValueError(f"secret {reference}: it holds a control character")
    SECRETS.add(value)
    return value


def resolve_document(reference: str) -> str:
    """The text behind `env:NAME` or `file:PATH` as `resolve_secret` finds it, of any number of lines."""
    return _behind(reference)


def _behind(reference: str) -> str:
    kind, _, rest = reference.partition(":")
    if kind == "env":
        value = os.environ.get(rest)
        if value is None:
            raise ValueError(f"secret {reference}: the environment variable {rest} is not set")
        return value.strip()
    try:
        return Path(rest).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"secret {reference}: the file can't be read ({error.strerror})") from error


def child_environment(**overrides: str) -> dict[str, str]:
    """This process's environment with `overrides` laid over it, for a process to be started."""
    return {**os.environ, **overrides}
