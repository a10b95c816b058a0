"""`sluice reconcile`: what it takes for a time, what it prints, and with which code it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from sinks.reader import TopicRecreated
from sinks.reconcile.accounts import FOR_EVER_MS
from sinks.reconcile.findings import Checked, Finding, Kind
from sinks.reconcile.run import Report, Wanted
from sinks.store import Unavailable
from streams.cli import reconcile
from streams.cli.connect import locate
from streams.cli.failure import BadInput, Refused, Unwanted
from streams.cli.reconcile import Impatience, moment_of, run_reconcile
from streams.settings import Settings

NOW = 1_800_000_000_000
USAGE = ("llm.usage", 0)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        (None, None),
        ("90s", NOW - 90_000),
        ("24h", NOW - 86_400_000),
        ("2d", NOW - 172_800_000),
        ("2026-01-31", 1_769_817_600_000),
        ("2026-01-31T12:00", 1_769_860_800_000),
        ("2026-01-31T12:00+02:00", 1_769_853_600_000),
    ],
)
def test_a_time_is_a_date_or_so_long_ago(text: str | None, ms: int | None) -> None:
    assert moment_of(text, "--from", NOW) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "5x", "h", "31.01.2026"])
def test_what_is_no_time_is_said_with_its_option(text: str) -> None:
    with pytest.raises(BadInput, match="--to"):
        moment_of(text, "--to", NOW)


class Ran:
    """Stands for the comparison: gives a report, and keeps what was wanted."""

    def __init__(self, *findings: Finding) -> None:
        self._findings = findings
        self.wanted: Wanted | None = None

    async def __call__(self, place: Any, wanted: Wanted, repair: bool) -> Report:
        self.wanted = wanted
        gaps = sum(f.count for f in self._findings if f.is_gap)
        checked = Checked(
            USAGE, 0, 30, records=20, rows={"usage": 19}, gaps=gaps, explained={"dead letter": 1}
        )
        return Report("run-1", wanted.scope, [checked], list(self._findings), horizon=NOW, seconds=2)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Any:
    async def nothing(brokers: str) -> None:
        return None

    def with_findings(*findings: Finding) -> Ran:
        made = Ran(*findings)
        monkeypatch.setattr(reconcile, "_run", made)
        monkeypatch.setattr(reconcile, "active", nothing)
        return made

    return with_findings


MISSING = Finding(Kind.MISSING, "usage", *USAGE, 7, 7, 1, "acme", "r-1")
DOUBLED = Finding(Kind.DUPLICATED, "usage", *USAGE, 9, 9)
RUN = Finding(Kind.MISSING, "usage", *USAGE, 11, 15, 4, mended=True)


async def test_gaps_are_printed_with_their_offsets_and_end_with_code_1(
    ran: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(MISSING, DOUBLED, RUN)
    with pytest.raises(Unwanted):
        await run_reconcile(None, None, repair=False, as_json=False)
    shown = capsys.readouterr()
    assert "usage: llm.usage-0 offset 7, r-1 (acme)" in shown.out
    assert "usage: llm.usage-0 offset 9" in shown.out
    assert "usage: llm.usage-0 offsets 11-15 (4 rows) - mended" in shown.out
    assert "2 gaps (20 records in 2.0 s)" in shown.out and "--repair" in shown.err


async def test_what_was_mended_is_no_gap_any_more(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ran(RUN)
    await run_reconcile(None, None, repair=True, as_json=False)
    assert "4 mended" in (out := capsys.readouterr().out) and "complete: no gap" in out


async def test_programs_get_one_object_a_line(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ran(MISSING)
    with pytest.raises(Unwanted):
        await run_reconcile("1h", None, repair=False, as_json=True)
    compared, finding, finished = map(json.loads, capsys.readouterr().out.splitlines())
    assert (compared["topic"], compared["records"], compared["explained"]) == (
        USAGE[0],
        20,
        {"dead letter": 1},
    )
    assert (finding["kind"], finding["first"], finding["gap"]) == ("missing", 7, True)
    assert (finished["run"], finished["gaps"]) == ("run-1", 1)


async def test_a_range_of_time_is_a_part_and_nothing_is_all(ran: Any) -> None:
    made = ran()
    await run_reconcile(None, None, repair=False, as_json=True)
    assert (made.wanted.scope, made.wanted.since, made.wanted.until) == ("all", 0, FOR_EVER_MS)
    await run_reconcile("2026-01-31", "2026-02-01", repair=False, as_json=True)
    assert (made.wanted.scope, made.wanted.until - made.wanted.since) == ("part", 86_400_000)
    with pytest.raises(BadInput, match="before --to"):
        await run_reconcile("2026-02-01", "2026-01-31", repair=False, as_json=True)


async def test_clickhouse_is_waited_for_a_while_but_not_for_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def away() -> None:
        nonlocal tries
        tries += 1
        raise Unavailable("down")

    with pytest.raises(Unavailable):
        await Impatience(most_s=0.3).persist(away, "compare")
    assert tries > 1
    tries = 0

    async def denied() -> None:
        nonlocal tries
        tries += 1
        raise Unavailable("not granted", 497)

    with pytest.raises(Unavailable):
        await Impatience(most_s=30).persist(denied, "compare")
    assert tries == 1


async def test_a_topic_made_anew_is_said_with_what_to_do_and_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def recreated(*_: Any, **__: Any) -> Report:
        raise TopicRecreated(TopicPartition(*USAGE), 7, 30)

    monkeypatch.setattr(reconcile, "reconcile", recreated)
    with pytest.raises(Refused, match=r"llm\.usage-0 ends at 7, but was read up to 30") as refused:
        await reconcile._run(locate(Settings(home=tmp_path)), Wanted(), repair=True)  # not this machine's stack
    assert refused.value.code == 7 and "SluiceSinkRecreated" in (refused.value.hint or "")
