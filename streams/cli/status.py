"""`sluice status`: each part and worker, and how far each stage is behind."""

import asyncio
from dataclasses import dataclass
from typing import Any

from schemas import names
from schemas.config import Config
from streams import supervisor as sv
from streams.cli import output
from streams.cli.clickhouse import ClickHouse
from streams.cli.configuration import active
from streams.cli.connect import Where, where
from streams.cli.failure import Failure, Unwanted, translate
from streams.cli.kafka import has_topic
from streams.cli.lags import lags
from streams.cli.lifecycle import is_ready
from streams.cli.proof import Found, settled
from streams.local.stack import Stack

_QUIET_S, _PROOF_S = 8, 60


@dataclass(frozen=True)
class WorkerStatus:
    """A worker, and the records that its stage has not processed (None where Kafka doesn't tell)."""

    state: sv.WorkerState
    ready: bool
    lag: int | None


async def show(as_json: bool, prove: bool = False) -> None:
    """`sluice status`. Raises Unwanted where a part or worker isn't ready, or the proof doesn't hold."""
    place = where()
    parts = await asyncio.to_thread(Stack(place.home, place.settings.cache_dir).status)
    behind, version, problem = await _kafka_view(place)
    workers = await _workers(place, behind)
    found = await _proof(place) if prove and problem is None else None
    if as_json:
        output.emit(
            {
                "home": str(place.home),
                "brokers": place.brokers,
                "registry_url": place.registry_url,
                "clickhouse_url": place.clickhouse_url,
                "configuration": version,
                "parts": [_part_fields(p) for p in parts],
                "workers": [_worker_fields(w) for w in workers],
                "lag": behind,
                "problem": problem.message if problem else None,
                **({"proof": _proof_fields(found)} if found else {}),
            }
        )
    else:
        _print(place, parts, workers, behind, version, problem)
        if found is not None:
            _print_proof(found)
    holds = found is None or found.hold
    ready = all(p.ready for p in parts) and bool(workers) and all(w.ready for w in workers)
    if problem or not ready or not holds:
        raise Unwanted


async def _proof(place: Where) -> Found:
    async with ClickHouse(place) as clickhouse:
        return await settled(place, clickhouse, _QUIET_S, _PROOF_S)


def _proof_fields(found: Found) -> dict[str, Any]:
    counts = dict(zip(("accepted", "terminal", "in_clickhouse"), found.counts(), strict=True))
    return {**counts, "open": found.open, "holds": found.hold, "wrong": found.differences()}


def _print_proof(found: Found) -> None:
    output.say(found.line(), output.GOOD if found.hold else output.BAD)
    if found.open:
        output.say(f"{found.open} requests are open still: their ids are among those below", output.MEH)
    output.say_ids(found.differences())


async def stage_lags(place: Where, config: Config) -> dict[str, int]:
    """For each stage, the records that wait for it."""
    calls = {
        f"call {m}": [names.calls_topic(m, lane) for lane in spec.lanes] for m, spec in config.models.items()
    }
    sink = [names.RESULTS, names.USAGE, names.AUDIT, names.ATTEMPTS, names.DEAD_LETTERS]
    groups = {
        f"{place.app_id}-classify": [names.REQUESTS, names.CONTROL],
        f"{place.app_id}-route": [names.TENANT_EVENTS],
        **{f"{place.app_id}-call-{m}": calls[f"call {m}"] for m in config.models},
        f"{place.app_id}-sink": sink,
        f"{place.app_id}-relay": [names.RESULTS],
    }
    found = await lags(place.brokers, groups)
    return {group.removeprefix(f"{place.app_id}-"): sum(parts.values()) for group, parts in found.items()}


async def _kafka_view(place: Where) -> tuple[dict[str, int], str | None, Failure | None]:
    """Lags and the active version; a Failure where Kafka doesn't tell."""
    try:
        if not await has_topic(place.brokers, names.CONFIG):
            return {}, None, Failure("no topics yet", "`sluice up` makes them")
        found = await active(place.brokers)
        if found is None:
            return {}, None, Failure("no configuration is active", "publish one: `sluice config apply FILE`")
        return await stage_lags(place, found[1]), found[0], None
    except Exception as error:
        failure = translate(error, place.brokers)
        if failure is None:
            raise
        return {}, None, failure


async def _workers(place: Where, behind: dict[str, int]) -> list[WorkerStatus]:
    state = sv.load_state(place.home)
    if state is None or sv.running(place.home) is None:
        return []
    ready = await asyncio.gather(*(asyncio.to_thread(is_ready, w) for w in state.workers))
    return [
        WorkerStatus(worker, good, _lag_of(worker.stage, behind))
        for worker, good in zip(state.workers, ready, strict=True)
    ]


def _lag_of(stage: str, behind: dict[str, int]) -> int | None:
    mine = [lag for group, lag in behind.items() if group == stage or group.startswith(f"{stage}-")]
    return sum(mine) if mine else None


def _part_fields(part: Any) -> dict[str, Any]:
    return {
        "name": part.name,
        "running": part.running,
        "ready": part.ready,
        "url": part.url,
        "pid": part.pid,
        "rss_mb": None if part.rss_mb is None else round(part.rss_mb, 1),
        "log": str(part.log),
    }


def _worker_fields(worker: WorkerStatus) -> dict[str, Any]:
    state = worker.state
    return {
        "stage": state.stage,
        "state": state.state,
        "ready": worker.ready,
        "pid": state.pid,
        "url": f"http://127.0.0.1:{state.port}" if state.pid else None,
        "restarts": state.restarts,
        "last_error": state.last_error,
        "lag": worker.lag,
    }


def _print(
    place: Where,
    parts: list[Any],
    workers: list[WorkerStatus],
    behind: dict[str, int],
    version: str | None,
    problem: Failure | None,
) -> None:
    if not parts and not workers:
        output.say(f"nothing runs in {place.home}")
    if parts:
        rows = [
            (p.title, _word(p.running, p.ready), p.url, p.pid, p.rss_mb and f"{p.rss_mb:.0f} MiB")
            for p in parts
        ]
        output.table(f"parts in {place.home}", ["part", "state", "address", ">pid", ">memory"], rows)
    if workers:
        columns = ["stage", "state", ">waiting", ">restarts", ">pid", "metrics", "last end"]
        output.table("workers", columns, [_worker_row(w) for w in workers])
    elif parts:
        output.say("no workers run: `sluice up` starts them", output.MEH)
    calls = {k.removeprefix("call-"): n for k, n in behind.items() if k.startswith("call-") and n}
    if calls:
        output.say("waiting calls by model: " + ", ".join(f"{m} {n}" for m, n in sorted(calls.items())))
    if version is not None:
        output.say(f"configuration {version}", "dim")
    if problem is not None:
        output.failure(problem)


def _worker_row(worker: WorkerStatus) -> tuple[object, ...]:
    state = worker.state
    word = _word(state.pid is not None, worker.ready) if state.state == "running" else state.state
    metrics = f"http://127.0.0.1:{state.port}/metrics" if state.pid else None
    return (
        state.stage,
        word,
        worker.lag,
        state.restarts,
        state.pid,
        metrics,
        output.short(state.last_error, 60) or None,
    )


def _word(running: bool, ready: bool) -> str:
    return "ready" if ready else "not ready" if running else "down"
