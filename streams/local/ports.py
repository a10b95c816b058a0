"""Chooses TCP ports on loopback."""

import contextlib
import fcntl
import random
import socket
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Final

HOST = "127.0.0.1"
WELL_KNOWN: Final = {"kafka.broker": 9092, "registry.http": 8081, "clickhouse.http": 8123}
"""Where documents and other programs expect a part; by part and role."""
# Below what systems hand to outgoing connections: a port kept for the next start is likely to be free then.
_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """True when a server could listen on `port` now."""
    with socket.socket() as s:
        # As servers do it: connections that were closed a moment ago do not count.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((HOST, port))
            s.listen(1)
        except OSError:
            return False
        return True


def choose(taken: Container[int] = ()) -> int:
    """A port that is free now and not in `taken`. Raises OSError when no port is free."""
    for port in random.sample(_RANGE, min(len(_RANGE), 2000)):
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port between {_RANGE.start} and {_RANGE.stop}: end what listens there")


@contextlib.contextmanager
def reserved(wanted: Iterable[int], directory: Path) -> Iterator[set[int]]:
    """Those of `wanted` that are free and that no other start of this user is about to take.

    They stay reserved, by locks on files in `directory`, until the context ends: by then what took them listens.
    Two stacks that start at once would else both find a well-known port free, and one take the other's part for
    its own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    got: set[int] = set()
    with contextlib.ExitStack() as locks:
        for port in wanted:
            lock = locks.enter_context((directory / f"port-{port}.lock").open("ab"))
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_free(port):
                    got.add(port)
        yield got
