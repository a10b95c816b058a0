"""Large requests don't make workers large: what a worker holds at once is bounded in bytes, not in records."""

import uuid
from pathlib import Path
from typing import Final

import pytest

from tests.pipeline.fleet import Worker
from tests.pipeline.pipeline import Pipeline, requests

pytestmark = pytest.mark.asyncio(loop_scope="session")

REQUESTS: Final = 128
PROMPT_BYTES: Final = (1 << 20) - 1024  # with the few bytes that differ within 1 MiB, the limit
ANSWER_BYTES: Final = 4096
# About 100 MB are the interpreter and its libraries. Holding all requests at once, as bytes and decoded, would take
# 256 MB more.
MOST_MB: Final = 300


def peak_mb(worker: Worker) -> float:
    """The most memory that a worker has ever held, MB (Linux)."""
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return peak * 1024 / 1e6


async def test_workers_stay_small_with_prompts_of_a_mebibyte(pipeline: Pipeline) -> None:
    prefix = f"large-{uuid.uuid4().hex[:8]}"
    # In the system prompt: the mock provider counts calls by what the user says.
    sent = requests(
        prefix, REQUESTS, system="x" * PROMPT_BYTES, prompt=f"{prefix} [[chunks:4]] [[size:{ANSWER_BYTES // 4}]]"
    )
    await pipeline.publish(*sent)
    await pipeline.results((r.tenant, r.id) for r in sent)
    results = [pipeline.evidence.terminal()[r.tenant, r.id][0] for r in sent]
    assert {(r.status, len(r.text or "")) for r in results} == {("succeeded", ANSWER_BYTES)}
    await pipeline.kept()
    peaks = {str(worker.place): round(peak_mb(worker)) for worker in pipeline.fleet.workers.values()}
    print(f"peak MB with {REQUESTS} prompts of 1 MiB: {peaks}")
    assert {place: peak for place, peak in peaks.items() if peak > MOST_MB} == {}
