"""Crash points: places where a test may kill the process, between two steps whose order matters."""

import os
import signal
from typing import Literal

from streams.settings import get_settings

CrashPoint = Literal[
    "classify.before_send",
    "classify.after_send",
    "classify.after_commit",
    "route.opened",
    "route.before_transaction",
    "route.before_outputs",
    "route.after_outputs",
    "route.after_commit",
    "call.before_started",
    "call.after_started",
    "call.mid_stream",
    "call.after_response",
    "call.after_outcome",
    "call.after_done",
    "call.after_commit",
    "sink.before_intent",
    "sink.after_intent",
    "sink.mid_insert",
    "sink.after_insert",
    "sink.after_done",
    "sink.after_commit",
    "relay.after_copy",
]

_passed: dict[str, int] = {}


def crash_point(name: CrashPoint) -> None:
    """Kill this process with SIGKILL if the settings ask for it here.

    The setting is `NAME`, `NAME:N` for the Nth passing, or `NAME:N:stop` to be stopped (SIGSTOP) instead,
    which makes a zombie when it is continued later.
    """
    wanted = get_settings().crash_point
    if not wanted.startswith(name):
        return
    at, *rest = wanted.split(":")
    if at != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(rest[0] if rest else 1):
        os.kill(os.getpid(), signal.SIGSTOP if rest[1:] == ["stop"] else signal.SIGKILL)
