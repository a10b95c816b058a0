"""`sluice models`: what it tells of each model; and what the doctor says of those that retire."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from streams.cli import doctor
from streams.cli.failure import NotFound
from streams.cli.models import retiring, show_models
from tests.unit.test_config_rules import config

TEXT = """\
version: 1
providers:
  openai: {kind: openai, api_key: env:K}
  own: {kind: openai, base_url: "http://127.0.0.1:9", preset: vllm}
models:
  mini: {provider: openai, vendor_model: gpt-5-mini, aliases: [small], retires_at: 2020-01-01}
  own:
    deployments:
      - {provider: own, vendor_model: a, prices: [{per_compute_second: 0.002}]}
      - {provider: own, vendor_model: b}
tenants: {acme: {}}
routes: [{models: [mini]}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sluice.yaml"
    path.write_text(TEXT)
    return path


async def test_a_program_gets_a_line_a_model(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await show_models(None, file, as_json=True)
    mini, own = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (mini["model"], mini["aliases"], mini["context_window"]) == ("mini", ["small"], 400_000)
    assert mini["retires_at"] == "2020-01-01" and "image" in mini["capabilities"]["modalities"]
    place = mini["deployments"][0]
    assert place["price_version"].startswith("genai-prices ") and place["cost_basis"] == "per_token"
    assert place["prices"][-1]["input"] == "0.25"
    bases = [(p["vendor_model"], p["price_version"], p["cost_basis"]) for p in own["deployments"]]
    assert bases == [("a", "config", "per_compute_second"), ("b", None, None)]


async def test_people_get_a_table_and_all_prices_of_one(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await show_models(None, file, as_json=False)
    table = capsys.readouterr().out
    assert "unpriced" in table and "0.002 a second of compute; config" in table and "2020-01-01 (-" in table
    await show_models("small", file, as_json=False)
    one = capsys.readouterr().out
    assert "own/a" not in one and "2026-10-14" in one and "flex" in one
    with pytest.raises(NotFound, match="'nix'"):
        await show_models("nix", file, as_json=False)


def models(**days: datetime.date | None) -> dict[str, Any]:
    told = config()["models"]["fast"] if "fast" in config()["models"] else next(iter(config()["models"].values()))
    known = {name: {**told, "aliases": [], "retires_at": day} for name, day in days.items()}
    whole = {**config(), "models": known, "routes": [{"models": list(known)}], "tenants": {"t": {}}}
    return Config.model_validate(whole).models


def test_a_model_that_retires_within_30_days_or_has_is_told() -> None:
    today = datetime.date(2026, 11, 24)
    day = datetime.timedelta(days=1)
    told = retiring(
        models(a=None, b=today + 31 * day, c=today + 30 * day, d=today, e=today - 2 * day), today
    )
    assert told == [
        "c retires in 30 days, on 2026-12-24",
        "d retires today, on 2026-11-24",
        "e retires 2 days ago, on 2026-11-22",
    ]


async def test_the_doctor_warns_and_finds_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    known = models(old=datetime.date(2020, 1, 1))
    place: Any = type("Place", (), {"brokers": "none"})

    async def there(*args: object) -> Any:
        return "v", type("Known", (), {"models": known})

    monkeypatch.setattr(doctor, "active", there)
    monkeypatch.setattr(doctor, "has_topic", there)
    finding = await doctor._run("models", doctor.CHECKS["models"], place)
    assert finding.good and finding.fix is not None and "old retires" in finding.what
    known.clear()
    finding = await doctor._run("models", doctor.CHECKS["models"], place)
    assert finding.good and finding.fix is None
