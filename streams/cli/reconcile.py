"""`sluice reconcile`: Kafka compared with ClickHouse, offset by offset, and requests with their ends."""

import getpass
import socket
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from schemas.names import DEAD_LETTERS
from sinks.clickhouse import Access, ClickHouse
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.reader import ReadStalled, TopicRecreated
from sinks.reconcile.accounts import FOR_EVER_MS, Terms
from sinks.reconcile.findings import MEANINGS, Checked, Finding, Kind
from sinks.reconcile.run import Report, Wanted
from sinks.reconcile.topics import TopicMissing
from sinks.report_period import BadPeriod, moment
from sinks.rows import EVENT_OF_TOPIC
from sinks.store import StoreError
from streams.cli import output
from streams.cli.configuration import active
from streams.cli.connect import Where, where
from streams.cli.events import open_codec
from streams.cli.failure import BadInput, Refused, TimedOut, Unreachable, Unwanted
from streams.services.reconcile import Setup, reconcile, terms_of

_MOST_SHOWN: Final = 20
_PATIENCE_S: Final = 30.0
_LONG_QUERY_S: Final = 600
_DENIED: Final = {164, 192, 193, 194, 497, 516}  # read-only, no such user or password, not granted


class Impatience(Patience):
    """Waits for a store that is away for as long as a person would, then raises what it said."""

    def __init__(self, most_s: float = _PATIENCE_S) -> None:
        super().__init__(NoMetrics())
        self._most_s = most_s
        self._since: dict[str, float] = {}

    async def wait(self, error: StoreError, what: str) -> None:
        """See Patience. Raises `error` when the time is over, and at once where waiting won't help."""
        now = time.monotonic()
        if error.code in _DENIED or now - self._since.get(what, now) > self._most_s:
            raise error
        if not self._since:
            output.note(f"ClickHouse can't answer now; trying again for {self._most_s:.0f} s")
        self._since.setdefault(what, now)
        await super().wait(error, what)

    def over(self, what: str) -> None:
        """See Patience."""
        self._since.pop(what, None)
        super().over(what)


def moment_of(text: str | None, option: str, now_ms: int) -> int | None:
    """Milliseconds since the epoch of a time as reports take it; None stays None. Raises BadInput with `option`."""
    if text is None:
        return None
    try:
        return round(moment(text, datetime.fromtimestamp(now_ms / 1000, UTC)).timestamp() * 1000)
    except BadPeriod as error:
        raise BadInput(f"{option}: {error}") from None


async def run_reconcile(since: str | None, until: str | None, *, repair: bool, as_json: bool) -> None:
    """Compare, and say what was found. Raises Unwanted where a gap is left."""
    now = int(time.time() * 1000)
    start, end = moment_of(since, "--from", now), moment_of(until, "--to", now)
    if start is not None and start >= (FOR_EVER_MS if end is None else end):
        raise BadInput(
            "--from must be before --to", "leave one of them out to begin or end with what there is"
        )
    place = where()
    found = await active(place.brokers)
    terms = terms_of(found[1]) if found else Terms()
    wanted = Wanted(
        "all" if start is None and end is None else "part",
        start or 0,
        FOR_EVER_MS if end is None else end,
        int(place.settings.reconcile_fresh_s * 1000),
        terms,
    )
    report = await _run(place, wanted, repair)
    if as_json:
        _emit(report)
    else:
        _print(report, repair)
    if report.gaps:
        raise Unwanted


async def _run(place: Where, wanted: Wanted, repair: bool) -> Report:
    settings = place.settings
    access = Access(
        url=place.clickhouse_url,
        user=settings.clickhouse_user,
        password=settings.clickhouse_password.get_secret_value(),
        database=settings.clickhouse_database,
    )
    clickhouse = ClickHouse(access, timeout_s=_LONG_QUERY_S)
    try:
        async with open_codec(place) as codec:
            setup = Setup(
                brokers=place.brokers,
                clickhouse=clickhouse,
                codec=codec,
                events=EVENT_OF_TOPIC,
                letters=DEAD_LETTERS,
                worker=f"{getpass.getuser()}@{socket.gethostname()}",
                metrics=NoMetrics(),
                patience=Impatience(),
            )
            return await reconcile(setup, wanted, repair=repair)
    except StoreError as error:
        message = f"ClickHouse at {place.clickhouse_url}: {error}"
        if error.code in _DENIED:
            hint = "a reconciliation is recorded: set SLUICE_CLICKHOUSE_USER to one who may write"
            raise Refused(message, hint) from error
        raise Unreachable(message, "start it with `sluice up`, or set SLUICE_CLICKHOUSE_URL") from error
    except TopicMissing as error:
        raise Unreachable(str(error).split(":")[0], "create the topics with `sluice topics apply`") from error
    except TopicRecreated as error:
        hint = "docs/runbook.md says how to go on (SluiceSinkRecreated); nothing more is compared or mended before"
        raise Refused(str(error), hint) from error
    except ReadStalled as error:
        raise TimedOut(str(error), "`sluice doctor` says whether Kafka is well") from error
    finally:
        await clickhouse.close()


# -- for programs ----------------------------------------------------------------------------------------------


def _emit(report: Report) -> None:
    for checked in report.checked:
        output.emit({"event": "compared", **_fields(checked)})
    for finding in report.findings:
        output.emit(
            {"event": "finding", "meaning": MEANINGS[finding.kind], **asdict(finding), "gap": finding.is_gap}
        )
    accounts = report.accounts
    output.emit(
        {
            "event": "finished",
            "run": report.run,
            "records": report.records,
            "requests": accounts.requests,
            "open_requests": accounts.open_requests,
            "attempts": accounts.attempts,
            "open_attempts": accounts.open_attempts,
            "horizon": output.moment(report.horizon),
            "seconds": round(report.seconds, 3),
            "gaps": report.gaps,
        }
    )


def _fields(checked: Checked) -> dict[str, Any]:
    fields = asdict(checked)
    topic, partition = fields.pop("at")
    return {"topic": topic, "partition": partition, **fields}


# -- for people ------------------------------------------------------------------------------------------------


def _print(report: Report, repaired: bool) -> None:
    by_topic: dict[str, list[Checked]] = {}
    for checked in report.checked:
        by_topic.setdefault(checked.at[0], []).append(checked)
    output.table(
        "Kafka and ClickHouse",
        ["topic", ">partitions", ">records", "rows", ">gaps", "notes"],
        [_line(topic, some, report.findings) for topic, some in sorted(by_topic.items())],
    )
    accounts = report.accounts
    output.say(
        f"{accounts.requests} requests, {accounts.open_requests} of them open; {accounts.attempts} attempts, "
        f"{accounts.open_attempts} of them running; judged as of {output.moment(report.horizon)}"
    )
    _print_findings(report.findings)
    rate = f"{report.records} records in {report.seconds:.1f} s"
    mended = sum(f.count for f in report.findings if f.mended)
    if mended:
        output.say(f"{mended} mended", output.GOOD)
    if report.gaps:
        output.say(f"{report.gaps} gaps ({rate})", output.BAD)
        hint = "" if repaired else "`sluice reconcile --repair` mends what can be mended; "
        output.note(f"{hint}docs/runbook.md says what to do with each kind (SluiceReconcileGaps)")
    elif waiting := sum(c.waiting for c in report.checked):
        output.say(f"no gap in what has landed ({rate}); {waiting} positions are on their way", output.GOOD)
    else:
        output.say(f"complete: no gap ({rate})", output.GOOD)


def _line(topic: str, checked: Sequence[Checked], findings: Iterable[Finding]) -> list[object]:
    rows: Counter[str] = Counter()
    explained: Counter[str] = Counter()
    for each in checked:
        rows.update(each.rows)
        explained.update(each.explained)
    gaps = sum(f.count for f in findings if f.topic == topic and f.is_gap)
    notes = [f"{n} {why}" for why, n in sorted(explained.items())]
    if deleted := sum(c.deleted for c in checked):
        sealed = sum(c.sealed for c in checked)
        notes.append(f"{deleted} positions deleted by Kafka, {sealed} of them known from earlier runs")
    if waiting := sum(c.waiting for c in checked):
        notes.append(f"{waiting} on their way")
    records = sum(c.records for c in checked)
    told = ", ".join(f"{table} {n}" for table, n in sorted(rows.items()) if n)
    return [topic, len(checked), records, told or "-", gaps, "; ".join(notes) or "-"]


def _print_findings(findings: Sequence[Finding]) -> None:
    for kind in Kind:
        mine = [f for f in findings if f.kind is kind]
        if not mine:
            continue
        output.say(f"{kind}: {MEANINGS[kind]}", "bold")
        for finding in mine[:_MOST_SHOWN]:
            output.say(f"  {_told(finding)}", output.GOOD if finding.mended else output.BAD)
        if len(mine) > _MOST_SHOWN:
            output.say(f"  and {len(mine) - _MOST_SHOWN} more: --json tells all", output.MEH)


def _told(finding: Finding) -> str:
    many = (
        f" ({finding.count} rows)"
        if finding.first != finding.last or finding.first < 0 < finding.count - 1
        else ""
    )
    about = f", {finding.request_id} ({finding.tenant})" if finding.topic and finding.request_id else ""
    note = f": {finding.note}" if finding.note else ""
    return f"{finding.place}{many}{about}{note}{' - mended' if finding.mended else ''}"
