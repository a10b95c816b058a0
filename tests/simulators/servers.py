"""Starts the provider simulators: `llmock` from PyPI, and `@copilotkit/aimock` from npm, which is installed for it.

    python -m tests.simulators.servers      installs what isn't there yet

Both packages install a program named llmock: each is started by its full path.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.settings import child_environment, get_settings

HERE: Final = Path(__file__).parent
_LOCK: Final = HERE / "package-lock.json"
_START_S: Final = 60.0


def installed() -> Path:
    """The program of `@copilotkit/aimock`, installed by npm as the lock file says. Raises RuntimeError."""
    version = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    home = get_settings().cache_dir / "simulators" / version
    program = home / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
    if program.exists():
        return program
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise RuntimeError(
            "missing: Node.js 20 with npm, which the provider simulator @copilotkit/aimock needs"
        )
    fresh = home.with_name(f"{version}.{os.getpid()}")
    fresh.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, fresh)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        shutil.rmtree(fresh)
        raise RuntimeError(f"npm can't install {_LOCK.name}: {done.stderr.strip()[-500:]}")
    try:
        fresh.rename(home)
    except OSError:  # another one was quicker
        shutil.rmtree(fresh)
    return program


@contextmanager
def aimock() -> Iterator[str]:
    """The address of a running aimock, which knows the conversations of aimock.json."""
    node = shutil.which("node")
    program = installed()
    port = _free_port()
    command = [
        str(node),
        str(program),
        "-p",
        str(port),
        "-f",
        str(HERE / "aimock.json"),
        "--log-level",
        "warn",
    ]
    with _running(command, f"http://127.0.0.1:{port}", "/ready") as url:
        yield url


@contextmanager
def llmock() -> Iterator[str]:
    """The address of a running llmock."""
    port = _free_port()
    program = Path(sys.executable).parent / "llmock"
    command = [str(program), "serve", "--port", str(port), "--log-level", "warning"]
    with _running(command, f"http://127.0.0.1:{port}", "/health") as url:
        yield url


@contextmanager
def _running(command: list[str], url: str, health: str) -> Iterator[str]:
    environment = child_environment(NO_COLOR="1")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_for(url + health, process)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    process.kill()
    told = process.communicate()[0].decode(errors="replace")
    raise RuntimeError(f"{' '.join(process.args)}: no answer at {url}\n{told[-2000:]}")  # type: ignore[arg-type]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    try:
        print(installed())
    except RuntimeError as error:
        sys.exit(str(error))
