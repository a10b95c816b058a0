"""Reports: what a person may ask, and how figures are shown."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from sinks.report_period import BadPeriod, moment, period, steps
from sinks.reports import DEFAULT_BY, REPORTS, Period, UnknownDimension, chosen, series_of, table_of
from streams.cli.report import Answer, figure, notes
from streams.cli.report_page import page
from streams.cli.sparkline import sparkline

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("12h", NOW - timedelta(hours=12)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T08:30", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),
        ("2026-11-01T08:30+01:00", datetime(2026, 11, 1, 7, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_duration_or_a_date_in_utc(text: str, at: datetime) -> None:
    assert moment(text, NOW) == at


@pytest.mark.parametrize("text", ["", "d", "7x", "yesterday", "-7d", "2026-13-01", "99999999999w"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(BadPeriod, match=r"no time|too long"):
        moment(text, NOW)


def test_a_period_holds_something() -> None:
    with pytest.raises(BadPeriod, match="since comes before until"):
        period("2026-11-20", "2026-11-20", NOW)
    for since in ("1h", "1d", "7d", "90d", "3650d"):
        assert 1 < steps(period(since, None, NOW)) <= 33


def test_by_what_a_report_may_be_grouped() -> None:
    assert chosen(REPORTS["cost"], ["model", "tenant", "model"]) == ("model", "tenant")
    with pytest.raises(UnknownDimension, match=r"can't group by 'colour'.*tenant"):
        chosen(REPORTS["cost"], ["colour"])
    for name, by in DEFAULT_BY.items():
        assert chosen(REPORTS[name], by) == by


def test_what_a_person_gives_is_never_a_part_of_the_statement() -> None:
    hostile = "x' OR 1=1 --"
    for report in REPORTS.values():
        for statement in (
            table_of(report, "analytics", ("tenant",), Period(0, 1, 60), hostile, 5),
            series_of(report, "analytics", ("tenant",), Period(0, 1, 60), hostile),
        ):
            assert hostile not in statement.sql and statement.parameters["tenant"] == hostile


def test_a_sparkline_shows_what_is_there() -> None:
    assert sparkline([0, 1, None, 8, 4]) == "▁▂ █▅"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""


def answer(rows: list[dict[str, Any]], totals: dict[str, Any]) -> Answer:
    series: dict[tuple[str, ...], list[float | None]] = {("acme", "<b>&"): [1.0, None, 2.5]}
    return Answer(REPORTS["cost"], ("tenant", "model"), Period(0, 10_800_000, 3600), rows, totals, series)


ROW = {"tenant": "acme", "model": "<b>&", "cost": 3.5, "attempts": 1234, "priced": 1230, "unpriced": 4}
ROW |= {"cost_of_failures": None}


def test_a_figure_that_is_unknown_is_no_zero() -> None:
    cost, attempts = REPORTS["cost"].measure("cost"), REPORTS["cost"].measure("attempts")
    assert [figure(cost, v) for v in (None, 0, 0.000123, 12345.6)] == [
        "-",
        "0.0000",
        "0.000123",
        "12,345.6000",
    ]
    assert figure(attempts, 1234567) == "1,234,567"
    assert figure(REPORTS["errors"].measure("share"), 0.0123) == "1.2%"
    assert notes(answer([ROW], ROW)) == ["4 attempts have no known cost: they aren't in the sums"]


class Reading(HTMLParser):
    """What a page holds: its tags, its texts, and whatever it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            v or "" for k, v in attrs if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")
        ]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_page_holds_everything_and_fetches_nothing() -> None:
    text = page(answer([ROW], ROW), "acme", NOW)
    read = Reading(text)
    assert read.tags.count("svg") == 2 and read.tags.count("table") == 1
    assert read.fetched == [] and not re.search(r"url\((?!#)", text) and "@import" not in text
    cells = [t.strip() for t in read.texts if t.strip()]
    for wanted in ("acme", "<b>&", "3.5000", "1,234", "-", "total", "acme · <b>&"):
        assert wanted in cells, wanted
    assert text == page(answer([ROW], ROW), "acme", NOW), "the same figures make the same page"


def test_a_page_of_an_empty_time_says_so() -> None:
    empty = Answer(
        REPORTS["cost"],
        ("tenant",),
        Period(0, 1, 60),
        [],
        {m.name: None for m in REPORTS["cost"].measures},
        {},
    )
    assert "There is nothing in this time" in page(empty, None, NOW)
