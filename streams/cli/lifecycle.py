"""`sluice up`, `down` and `worker`: what runs on this machine."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from streams import supervisor as sv
from streams.cli import output
from streams.cli.connect import NO_MODEL_URL, Where, locate, where
from streams.cli.failure import Failure, TimedOut, Unreachable
from streams.cli.program import program
from streams.local import process
from streams.local.model_server_main import missing
from streams.local.part import answers, base_url, source_root
from streams.local.stack import Stack
from streams.local.state import PART_NAMES, PartName
from streams.settings import Settings, child_environment, get_settings

READY_S = 90
_FLAPPING = 3
_MODULE = [sys.executable, "-m", "streams.cli.main"]

Say = Callable[[str], None]


def bring_up(config: Path | None, *, with_workers: bool, with_model: bool, as_json: bool) -> None:
    """`sluice up`."""
    import asyncio

    from streams.cli.provision import provision

    say: Say = output.note if as_json else tick
    settings = get_settings()
    lacks = missing() if with_model else None
    if lacks is not None:
        say(f"model server: left out, since the small model isn't installed; `{lacks}` and `sluice up` add it")
    parts: list[PartName] = [p for p in PART_NAMES if p != "model" or (with_model and lacks is None)]
    place, earlier_model_url = start_stack(settings, parts, say, well_known=settings.well_known_ports)
    version = asyncio.run(provision(place, config, say, earlier_model_url=earlier_model_url))
    if with_workers:
        start_workers(place, say)
    if as_json:
        output.emit(
            {**place.environment(), **place.variables(), "configuration": version, "workers": with_workers}
        )
        return
    _welcome(place, "" if "model" in parts else " --model echo")


def _welcome(place: Where, model: str) -> None:
    """Where everything is, and what to try."""
    output.say(f"Sluice is up ({place.home}).", "bold")
    registry = f", registry {place.registry_url}" if place.registry_url else ""
    output.say(f"Kafka {place.brokers}{registry}, ClickHouse {place.clickhouse_url}")
    sluice = program()
    output.say(f'try: {sluice} submit "Say hello" --tenant acme-lending{model} --wait', "dim")
    output.say(f"end: {sluice} down (data stays)", "dim")


def start_stack(
    settings: Settings, parts: list[PartName], say: Say, *, bound: bool = False, well_known: bool = False
) -> tuple[Where, str]:
    """Start the parts; where they are, and what stood for the model server's address before. Raises Failure.

    `bound`: what is started ends with this process, however that ends (Linux). `well_known`: at the ports that
    documents name, where these are free.
    """
    from streams.local.packages import PackagesUnavailable
    from streams.local.process import ProcessFailed

    before = locate(settings).model_url or NO_MODEL_URL
    stack = Stack(settings.home, settings.cache_dir, die_with_parent=bound, well_known=well_known)
    try:
        stack.up(parts, progress=say)
    except (PackagesUnavailable, ProcessFailed) as error:
        raise Failure(str(error), "`sluice doctor` checks what the parts need") from error
    return locate(settings), before


def start_workers(place: Where, say: Say, *, bound: bool = False) -> None:
    """Start the supervisor in the background and return when every worker is ready."""
    running, state = sv.running(place.home), sv.load_state(place.home)
    if running is not None and state is not None and state.environment != place.environment():
        say("workers: the other parts have moved; starting them anew")
        process.stop(running, term_s=place.settings.drain_timeout_s + 5)
        running = None
    if running is None:
        process.start(
            [*_MODULE, "worker", "all"],
            pid_file=place.home / "run" / "supervisor-start.pid",  # its own one the supervisor locks itself
            log=place.home / "logs" / "supervisor.log",
            env=place.environment(),
            cwd=source_root(),
            die_with_parent=bound,
        )
    wait_ready(place.home, say)


def wait_ready(home: Path, say: Say, seconds: float = READY_S) -> None:
    """Return when every worker is ready. Raises Failure where one keeps crashing, or after `seconds`."""
    deadline = time.monotonic() + seconds
    begun, told, before = time.monotonic(), set[str](), dict[str, int]()
    while True:
        state = sv.load_state(home) if sv.running(home) else None
        workers = state.workers if state else []
        for worker in workers:
            if worker.stage not in told and is_ready(worker):
                told.add(worker.stage)
                say(f"{worker.stage}: ready after {time.monotonic() - begun:.1f} s")
            crashes = worker.restarts - before.setdefault(worker.stage, worker.restarts)
            if crashes >= _FLAPPING and worker.stage not in told:
                log = home / "logs" / f"worker-{worker.stage}.log"
                shown = f"worker {worker.stage} keeps crashing. Its log ends:\n{process.tail(log)}"
                raise Failure(shown, f"read {log}")
        if workers and len(told) == len(workers):
            return
        if time.monotonic() > deadline:
            late = sorted({w.stage for w in workers} - told) or ["supervisor"]
            raise TimedOut(
                f"not ready after {seconds:.0f} s: {', '.join(late)}", f"read the logs in {home / 'logs'}"
            )
        time.sleep(0.1)


def is_ready(worker: sv.WorkerState) -> bool:
    """Whether the worker runs and says that it is ready."""
    return worker.pid is not None and answers(f"{base_url(worker.port)}/readyz", timeout_s=3)


def take_down(*, workers_only: bool, as_json: bool) -> None:
    """`sluice down`."""
    say: Say = output.note if as_json else tick
    settings = get_settings()
    stop_workers(settings, say)
    if not workers_only:
        Stack(settings.home, settings.cache_dir).down(progress=say)
    if as_json:
        output.emit({"down": "workers" if workers_only else "all"})


def stop_workers(settings: Settings, say: Say) -> None:
    """End the supervisor, which drains its workers; then any worker that outlived an earlier supervisor."""
    begun = time.monotonic()
    running = sv.running(settings.home)
    if running is not None:
        process.stop(running, term_s=settings.drain_timeout_s + 5)
        say(f"workers: stopped after {time.monotonic() - begun:.1f} s")
    for pid_file in sorted((settings.home / "run").glob("worker-*.pid")):
        left = process.find(pid_file)
        if left is not None:
            process.stop(left, term_s=settings.drain_timeout_s)
            say(f"{pid_file.stem}: stopped")


def supervise() -> None:
    """`sluice worker all`: supervise in the foreground until SIGTERM or Ctrl-C."""
    place = where()
    settings, environment = place.settings, place.environment()
    _require_broker(place)
    workers = [
        sv.Worker(
            stage,
            [*_MODULE, "worker", stage],
            place.home,
            environment,
            sv.Policy(),
            port_wanted=settings.web_port + number if settings.web_port else 0,
        )
        for number, stage in enumerate(sv.STAGES)
    ]
    place.home.mkdir(parents=True, exist_ok=True)
    supervisor = sv.Supervisor(place.home, workers, settings.drain_timeout_s, output.note, environment)
    sv.on_signals(supervisor)
    try:
        supervisor.run()
    except process.ProcessFailed as error:
        raise Failure(str(error)) from error


def run_stage(stage: str) -> None:
    """`sluice worker STAGE`: this process becomes the worker, with the addresses of the running stack."""
    place = where()
    if any(name not in child_environment() for name in place.environment()):
        import os

        os.chdir(source_root())
        os.execve(sys.executable, [*_MODULE, "worker", stage], child_environment(**place.environment()))
    from streams.worker import run_worker

    run_worker(stage)


def _require_broker(place: Where) -> None:
    """Raise Unreachable at once where nothing listens: workers would crash one by one."""
    import socket

    host, _, port = place.brokers.split(",")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except (OSError, ValueError) as error:
        message = f"Kafka doesn't answer at {place.brokers}"
        raise Unreachable(message, "start it with `sluice up`, or set SLUICE_BROKERS") from error


def tick(message: str) -> None:
    """A step that is done."""
    from rich.text import Text

    output.console().print(Text.assemble(("✓ ", "green"), message))
