"""The mock provider in a process of its own, and its counts: what it was really called for."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import httpx

from tests.pipeline.fleet import ROOT


@dataclass
class Provider:
    """A running mock provider. It outlives workers, so its counts are the judge of what was called."""

    process: "subprocess.Popen[str]"
    port: int

    @classmethod
    def start(cls, latency_ms: int = 20, chunks: int = 5) -> "Provider":
        options = ["--latency-ms", str(latency_ms), "--chunks", str(chunks)]
        command = [sys.executable, "-m", "tests.fakes.provider", *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening"), "the mock provider ended at once"
        return cls(process, int(line.split()[1]))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def counts(self) -> dict[str, Any]:
        """`total`, `in_flight`, `by_attempt` ("attempt id.try" -> calls), `by_prompt`, ..."""
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/counts", timeout=30).json()
        return found

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
