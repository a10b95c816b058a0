"""Where the parts are that a command talks to: by the environment, else by the state file of the stack."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.settings import Settings

STATE_FILE = "stack.json"
# Stands in the example configuration where the small model isn't installed; nothing listens there.
NO_MODEL_URL = "http://127.0.0.1:1/v1"


@dataclass(frozen=True)
class Where:
    """Addresses as a command uses them. `registry_url` and `model_url` are None where there is none.

    `own_clickhouse`: the database is the embedded one of the stack.
    """

    brokers: str
    registry_url: str | None
    clickhouse_url: str
    model_url: str | None
    home: Path
    app_id: str
    settings: "Settings"
    own_clickhouse: bool = False

    def environment(self) -> dict[str, str]:
        """The settings by which a worker finds the same parts."""
        found = {
            "SLUICE_BROKERS": self.brokers,
            "SLUICE_REGISTRY_URL": self.registry_url,
            "SLUICE_CLICKHOUSE_URL": self.clickhouse_url,
            "SLUICE_HOME": str(self.home),
        }
        return {name: value for name, value in found.items() if value}

    def variables(self) -> dict[str, str]:
        """What `${NAME}` in a configuration may stand for, beside the environment."""
        return {"SLUICE_MODEL_URL": self.model_url} if self.model_url else {}


@cache
def where() -> Where:
    """The addresses for this process.

    With SLUICE_BROKERS set the state file isn't looked at: its registry and database belong to other brokers.
    """
    from streams.settings import get_settings

    return locate(get_settings())


def locate(settings: "Settings") -> Where:
    """The addresses that `settings` and the state file under its home give together."""
    from streams.local.state import State

    given = settings.model_fields_set
    parts = {} if "brokers" in given else State.load(settings.home / STATE_FILE).parts
    urls = {name: entry.url for name, entry in parts.items()}
    return Where(
        brokers=urls.get("kafka") or settings.brokers,
        registry_url=settings.registry_url if "registry_url" in given else urls.get("registry"),
        clickhouse_url=_pick("clickhouse_url" in given, settings.clickhouse_url, urls.get("clickhouse")),
        model_url=urls.get("model"),
        home=settings.home,
        app_id=settings.app_id,
        settings=settings,
        own_clickhouse="clickhouse_url" not in given and "clickhouse" in urls,
    )


def _pick(given: bool, setting: str, stated: str | None) -> str:
    return setting if given or not stated else stated
