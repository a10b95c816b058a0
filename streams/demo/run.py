"""`sluice demo`: the whole journey on real parts, from an empty directory to the proof in ClickHouse."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import names
from streams import supervisor as sv
from streams.cli import lifecycle, output, proof
from streams.cli.clickhouse import ClickHouse
from streams.cli.configuration import active
from streams.cli.connect import Where
from streams.cli.events import open_codec
from streams.cli.failure import Failure, Refused, Unwanted
from streams.cli.kafka import has_topic, producer
from streams.cli.program import program
from streams.cli.provision import provision
from streams.demo import report
from streams.demo.requests import TENANTS, Planned, plan
from streams.demo.watch import STAGES, Seen, Watcher
from streams.local.model_server_main import missing
from streams.local.stack import Stack
from streams.local.state import PART_NAMES, PartName
from streams.settings import Settings, get_settings

_QUIET_S = 90.0
_PER_SECOND = 40
Say = Callable[[str], None]


@dataclass(frozen=True)
class Begun:
    """What ran before the demo, which it must leave running."""

    parts: frozenset[PartName]
    workers: bool


def demonstrate(count: int, *, keep: bool, as_json: bool) -> None:
    """Run it. Raises Unwanted where the counts don't agree or a request ended otherwise than planned."""
    if (lacks := missing()) is not None:
        raise Failure("the small model isn't installed", f"{lacks} (99 MB), then again")
    settings = get_settings()
    started = time.monotonic()
    say: Say = output.note if as_json else lifecycle.tick
    before = Begun(
        frozenset(p.name for p in Stack(settings.home, settings.cache_dir).status() if p.running),
        sv.running(settings.home) is not None,
    )
    if not as_json:
        output.say(f"Everything runs on this machine; data goes to {settings.home}.", "bold")
    with _ending(settings, before, keep, say):
        place, earlier = lifecycle.start_stack(
            settings, list(PART_NAMES), say, bound=not keep, well_known=keep and settings.well_known_ports
        )
        asyncio.run(_provision(place, earlier, say))
        lifecycle.start_workers(place, say, bound=not keep)
        an_id = asyncio.run(_journey(place, count, started, as_json))
    if not as_json:
        report.show_next(str(settings.home), keep or before.workers, an_id)


@contextmanager
def _ending(settings: Settings, before: Begun, keep: bool, say: Say) -> Iterator[None]:
    """Whatever happens inside, Ctrl-C and SIGTERM included, leave running only what ran before."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    finished = False
    try:
        yield
        finished = True
    finally:
        if not (keep and finished):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave something behind
            _stop(settings, before, say)


def _stop(settings: Settings, before: Begun, say: Say) -> None:
    if not before.workers:
        lifecycle.stop_workers(settings, say)
    parts = [p for p in PART_NAMES if p not in before.parts]
    if parts:
        Stack(settings.home, settings.cache_dir).down(parts, progress=say)


async def _provision(place: Where, earlier_model_url: str | None, say: Say) -> None:
    found = await active(place.brokers) if await has_topic(place.brokers, names.CONFIG) else None
    if found is not None and not set(TENANTS) <= found[1].tenants.keys():
        raise Refused(
            f"{place.home} has a configuration of its own, without the demo's tenants",
            f"run the demo beside it: SLUICE_HOME=~/.sluice-demo {program()} demo",
        )
    await provision(place, None, say, earlier_model_url=earlier_model_url)


async def _journey(place: Where, count: int, started: float, as_json: bool) -> str:
    """Publish, watch, count, print; the id of one of the requests."""
    run = f"demo-{time.strftime('%m%d-%H%M%S')}"
    async with open_codec(place) as codec, ClickHouse(place) as clickhouse:
        planned = plan(codec, run, count)
        watcher = Watcher(place.brokers, codec, clickhouse, Seen(run))
        await watcher.start()
        try:
            await _publish_and_watch(place, planned, watcher, as_json)
        finally:
            await watcher.stop()
        seen = watcher.seen
        if seen.first_result_at is not None and not as_json:
            output.say(f"first answer {seen.first_result_at - started:.1f} s after the start", "dim")
        found = await proof.settled(place, clickhouse)
        tables = await report.tables(clickhouse, run, seen.dead_letters)
    wrong = _surprises(planned, seen) | found.differences()
    _print(found, tables, wrong, seen, started, as_json)
    if wrong or not found.hold:
        raise Unwanted("the demo did not end as it should: see above", f"logs are in {place.home / 'logs'}")
    return min(p.request_id or "" for p in planned if p.ends == "succeeded")


async def _publish_and_watch(place: Where, planned: list[Planned], watcher: Watcher, as_json: bool) -> None:
    totals = expected(planned)
    seen = watcher.seen
    with _bars(totals, as_json) as tick:
        async with producer(place.brokers) as opened:
            publishing = asyncio.create_task(_publish(opened, planned, seen))
            watcher.also(publishing)
            await watcher.until(lambda s: _done(s, totals, planned), tick, _QUIET_S)


async def _publish(opened: AIOKafkaProducer, planned: list[Planned], seen: Seen) -> None:
    for record in planned:
        await opened.send_and_wait(names.REQUESTS, record.value, key=record.key)
        seen.published += 1
        await asyncio.sleep(1 / _PER_SECOND)


def expected(planned: list[Planned]) -> dict[str, int]:
    """How many records must pass each stage."""
    ends = [p.ends for p in planned]
    real = ends.count("succeeded")
    accepted = real + ends.count("rejected") + ends.count("expired")
    return dict(zip(STAGES, (len(ends), accepted, accepted, real, accepted, accepted), strict=True))


def _done(seen: Seen, totals: dict[str, int], planned: list[Planned]) -> bool:
    ends = [p.ends for p in planned]
    letters = len(seen.dead_letters) >= ends.count("dead letter")
    notices = len(seen.notices) >= ends.count("duplicate")
    return letters and notices and all(seen.counts()[stage] >= n for stage, n in totals.items())


def _surprises(planned: list[Planned], seen: Seen) -> dict[str, list[str]]:
    """What ended otherwise than planned."""
    must = {p.request_id for p in planned if p.ends not in ("dead letter", "duplicate") and p.request_id}
    missing = sorted(must - seen.results.keys())
    otherwise = [
        f"{p.request_id} {seen.results[p.request_id]}"
        for p in planned
        if p.request_id in seen.results and p.ends not in ("duplicate", seen.results[p.request_id])
    ]
    lost = [p.ends for p in planned].count("dead letter") - len(seen.dead_letters)
    found = {"no terminal result": missing} if missing else {}
    found |= {"ended otherwise than planned": otherwise} if otherwise else {}
    return found | ({"dead letters missing": [str(lost)]} if lost > 0 else {})


@contextmanager
def _bars(totals: dict[str, int], as_json: bool) -> Iterator[Callable[[Seen], None]]:
    """One bar a stage; nothing with --json; a line now and then where output is no terminal."""
    console = output.console()
    if as_json:
        yield lambda seen: None
        return
    if not console.is_terminal:
        yield _lines(totals)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    with Progress(
        TextColumn("{task.description:<14}"), BarColumn(40), MofNCompleteColumn(), console=console
    ) as bars:
        tasks = {stage: bars.add_task(stage, total=total) for stage, total in totals.items()}

        def tick(seen: Seen) -> None:
            for stage, n in seen.counts().items():
                bars.update(tasks[stage], completed=min(n, totals[stage]))

        yield tick


def _lines(totals: dict[str, int]) -> Callable[[Seen], None]:
    told_at = time.monotonic()

    def tick(seen: Seen) -> None:
        nonlocal told_at
        done = all(seen.counts()[stage] >= n for stage, n in totals.items())
        if done or time.monotonic() - told_at > 5:
            told_at = time.monotonic()
            print("  ".join(f"{stage} {n}/{totals[stage]}" for stage, n in seen.counts().items()), flush=True)

    return tick


def _print(
    found: proof.Found,
    tables: dict[str, list[dict[str, Any]]],
    wrong: dict[str, list[str]],
    seen: Seen,
    started: float,
    as_json: bool,
) -> None:
    took = time.monotonic() - started
    first = None if seen.first_result_at is None else round(seen.first_result_at - started, 1)
    holds = found.hold and not wrong
    if as_json:
        sums = dict(zip(("accepted", "terminal", "in_clickhouse"), found.counts(), strict=True))
        timing = {"seconds": round(took, 1), "first_answer_s": first}
        output.emit({**sums, "holds": holds, "wrong": wrong, **timing, **tables})
        return
    report.show_answers(seen.answers)
    report.show_tables(tables)
    if found.left:
        output.say(
            f"({found.left} older results have left the topic by its retention and aren't counted)", "dim"
        )
    output.say(found.line(), "bold green" if holds else "bold red")
    output.say_ids(wrong)
    output.say(f"{seen.published} records published, {took:.0f} s in all", "dim")
