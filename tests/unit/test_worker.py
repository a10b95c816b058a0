"""What every worker's metrics tell, whatever its stage."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from streams import metrics, worker
from streams.settings import Settings


class Health:
    """Stands for the health server."""

    made: "Health"

    def __init__(self, host: str, port: int, ready: Any, refresh: Any = lambda: None) -> None:
        self.refresh = refresh
        Health.made = self

    async def start(self) -> None:
        """Nothing to listen on."""

    async def stop(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("stage", worker.SERVICES)
async def test_a_service_tells_which_configuration_is_in_force(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    versions = ["v1"]
    told: list[float | None] = []

    async def close() -> None:
        """Nothing to close."""

    async def parts(settings: Settings) -> Any:
        return SimpleNamespace(configs=SimpleNamespace(active=lambda: (versions[-1], None)), close=close)

    async def run(stop: asyncio.Event) -> None:
        for version in ("v1", "v2"):
            versions.append(version)
            Health.made.refresh()
            told.append(REGISTRY.get_sample_value("sluice_worker_config_info", {"version": version}))

    monkeypatch.setattr(worker, "HealthServer", Health)
    monkeypatch.setattr(worker, "make_parts", parts)
    monkeypatch.setattr(worker, "_service", lambda *_: (run, lambda: True))
    await worker._run_service(stage, Settings())
    assert told == [1, 1]
    assert REGISTRY.get_sample_value("sluice_worker_config_info", {"version": "v1"}) is None
    metrics.CONFIG_INFO.clear()
