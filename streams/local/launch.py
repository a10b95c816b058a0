"""Becomes another program, after it has taken a lock and left its pid: the small step between fork and exec.

    python -I -S launch.py PID_FILE PARENT_PID [NAME=VALUE ...] -- COMMAND [ARGUMENT ...]

The lock on PID_FILE stays with the process for its life (the descriptor survives exec), so that the kernel,
not a file's age, says whether the program runs: two starts of one part can never both succeed. With
PARENT_PID other than 0 the kernel ends this process when the parent's starting thread ends (Linux). Uses the
standard library only, because it is run by path, outside any environment.
"""

import fcntl
import os
import signal
import sys
import time

LOCKED = 97  # exit status: another process holds the lock
NOT_FOUND = 127

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Take the lock, write the pid, and exec the command. Returns only by an exit status."""
    pid_file, parent = arguments[0], int(arguments[1])
    split = arguments.index("--")
    if parent and sys.platform == "linux":
        _end_with(parent)  # first, so that whoever sees the lock taken knows that the bond holds
    descriptor = os.open(pid_file, os.O_RDWR | os.O_CREAT, 0o644)
    if not _locked(descriptor):
        sys.exit(LOCKED)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(descriptor, True)
    for pair in arguments[2:split]:
        name, _, value = pair.partition("=")
        os.environ[name] = value
    command = arguments[split + 1 :]
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        print(f"{command[0]}: no such program", file=sys.stderr)
        sys.exit(NOT_FOUND)


def _locked(descriptor: int) -> bool:
    deadline = time.monotonic() + 1  # whoever asks if the program runs holds a shared lock for an instant
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)


def _end_with(parent: int) -> None:
    import ctypes  # loading it costs 10 ms, which only the bound mode needs to pay

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the request was made
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
