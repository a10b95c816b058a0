"""Chooses TCP ports on loopback."""

import random
import socket
from collections.abc import Container

HOST = "127.0.0.1"
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
