"""Starts worker processes by fork, with the heavy imports done once: a start costs a tenth of a second, not two.

    python -m tests.pipeline.nursery

Orders come as JSON lines on stdin, reports go as JSON lines to stdout:
    {"do": "start", "id": 1, "stage": "call", "env": {...}, "log": "/path"}    {"id": 1, "pid": 4711}
    {"do": "signal", "id": 1, "number": 9}                                     {"id": 1, "code": -9} at its end
A worker dies with the nursery, and the nursery ends when its stdin does. What runs in a worker is
`streams.worker.run_worker`, as under a supervisor.
"""

import ctypes
import json
import os
import random
import select
import signal
import sys
import traceback
from typing import Any, Final

_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Obey orders until stdin ends."""
    _import_all()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _tell({"ready": True})
    pids: dict[int, int] = {}
    pending = b""
    while True:
        readable, _, _ = select.select([0, wake_read], [], [])
        if wake_read in readable:
            os.read(wake_read, 4096)
            _reap(pids)
        if 0 in readable:
            data = os.read(0, 1 << 16)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                _obey(json.loads(line), pids)


def _import_all() -> None:
    import streams.agents.classify
    import streams.agents.route
    import streams.services.call.service
    import streams.services.relay
    import streams.services.sink
    import streams.worker  # noqa: F401


def _tell(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def _obey(order: dict[str, Any], pids: dict[int, int]) -> None:
    if order["do"] == "signal":
        if order["id"] in pids:
            os.kill(pids[order["id"]], order["number"])
        return
    nursery = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_worker(order, nursery)
    pids[order["id"]] = pid
    _tell({"id": order["id"], "pid": pid})


def _reap(pids: dict[int, int]) -> None:
    for number, pid in list(pids.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del pids[number]
            _tell({"id": number, "code": os.waitstatus_to_exitcode(status)})


def _be_worker(order: dict[str, Any], nursery: int) -> None:
    """Never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != nursery:
            os._exit(1)
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["env"])
        random.seed()

        from streams.worker import run_worker

        run_worker(order["stage"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
