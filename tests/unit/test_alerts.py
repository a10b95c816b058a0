"""deploy/alerts.yml names only metrics that exist, and every alert has its place in the runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import streams.metrics  # noqa: F401 - registers every metric

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
KNOWN = {
    sample + suffix
    for metric in REGISTRY.collect()
    for sample in [metric.name]
    for suffix in ({"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""]))
}
LABELS = {
    f"{collector._name}{'_total' if collector._type == 'counter' else ''}": set(collector._labelnames)
    for collector in REGISTRY._collector_to_names
    if hasattr(collector, "_labelnames")
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_metric_and_label_exists(rule: dict[str, Any]) -> None:
    named = re.findall(r"\bsluice_\w+", rule["expr"])
    assert named or rule["expr"].startswith("up{")
    assert set(named) <= KNOWN
    for metric, selector in re.findall(r"(sluice_\w+)\{([^}]*)\}", rule["expr"]):
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= LABELS[metric]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_is_in_the_runbook(rule: dict[str, Any]) -> None:
    assert f"## {rule['alert']}\n" in (ROOT / "docs" / "runbook.md").read_text()
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]


@pytest.mark.parametrize(
    "subject",
    [
        "classify_lag",
        "route_lag",
        "call_lag",
        "sink_lag",
        "relay_lag",
        "oldest_open_request",
        "hanging_transaction",
        "sink_paused",
        'classify_events_total{result="dead_letter"}',
        'route_dead_letters_total{reason!="unknown_outcome"}',
        "dedupe_reach",
        "call_dead_letters",
        "sink_dead_letters",
    ],
)
def test_what_must_be_watched_is(subject: str) -> None:
    assert any(subject in rule["expr"] for rule in RULES)
