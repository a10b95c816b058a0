"""What a sink worker tells of itself: whether it waits for ClickHouse, how much waits, and what it leaves alone."""

from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from streams.local.part import base_url


@dataclass(frozen=True)
class SinkHealth:
    """`failing` names what is tried in vain, with ClickHouse's error code and the failures in a row.

    `recreated` names the topics of which Kafka has less than the sink has read, so that it leaves them alone.
    """

    paused: bool
    failing: tuple[tuple[str, str, int], ...]
    waiting: int
    recreated: tuple[str, ...] = ()

    def __str__(self) -> str:
        alone = ""
        if self.recreated:
            alone = f"leaves {', '.join(self.recreated)} alone: Kafka has less than was read; "
        if not self.paused:
            return f"{alone}writes; {self.waiting} events aren't in ClickHouse yet"
        words = [f"{what} failed {n} times in a row ({_words(code)})" for what, code, n in self.failing]
        return f"{alone}waits for ClickHouse: {'; '.join(words)}; {self.waiting} events wait"


async def sink_health(port: int, timeout_s: float = 3) -> SinkHealth:
    """Ask the sink worker on `port`. Raises httpx.HTTPError where it doesn't answer."""
    async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as http:
        page = await http.get(f"{base_url(port)}/metrics")
        page.raise_for_status()
    return read(page.text)


def read(page: str) -> SinkHealth:
    """The sink's state in a page of metrics."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    failing = [
        (s.labels["what"], s.labels["code"], int(s.value)) for s in samples if s.name == "sluice_sink_failing"
    ]
    alone = [s for s in samples if s.name == "sluice_sink_recreated_partitions" and s.value > 0]
    return SinkHealth(
        paused=any(s.value > 0 for s in samples if s.name == "sluice_sink_paused"),
        failing=tuple(sorted(failing)),
        waiting=int(sum(s.value for s in samples if s.name == "sluice_sink_lag_records")),
        recreated=tuple(sorted(s.labels["topic"] for s in alone)),
    )


def _words(code: str) -> str:
    return "no answer" if code == "none" else f"its error {code}"
