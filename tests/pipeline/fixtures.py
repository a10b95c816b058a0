"""The pipeline that all whole-pipeline tests share: provisioned once, its promise checked over everything it did.

Tests that use it run in the session's event loop: `pytestmark = pytest.mark.asyncio(loop_scope="session")`.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from streams.local.stack import Stack
from tests.pipeline.pipeline import Pipeline, open_pipeline


@dataclass
class Shared:
    """The present pipeline. One whose promise was broken is replaced, so that each failure is one test's."""

    new_stack: Callable[[], Stack]
    logs: Path
    _open: contextlib.AsyncExitStack | None = None
    _pipeline: Pipeline | None = None
    _count: int = 0

    async def get(self) -> Pipeline:
        if self._pipeline is None or self._pipeline.broken:
            await self.close()
            self._open, self._count = contextlib.AsyncExitStack(), self._count + 1
            logs = self.logs / str(self._count)
            self._pipeline = await self._open.enter_async_context(open_pipeline(self.new_stack(), logs))
        return self._pipeline

    async def rest(self) -> None:
        """Stop every worker until they are needed again."""
        if self._pipeline is not None:
            await self._pipeline.fleet.rest()

    async def close(self) -> None:
        if self._open is not None:
            await self._open.aclose()
        self._open = self._pipeline = None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_pipeline(
    new_stack: Callable[[], Stack], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shared]:
    shared = Shared(new_stack, tmp_path_factory.mktemp("pipeline"))
    yield shared
    await shared.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def resting_after(shared_pipeline: Shared) -> AsyncIterator[Shared]:
    """The workers rest after each module: they would take time from tests that don't use them."""
    yield shared_pipeline
    await shared_pipeline.rest()


@pytest_asyncio.fixture(loop_scope="session")
async def pipeline(resting_after: Shared) -> AsyncIterator[Pipeline]:
    """The pipeline with two workers a stage, all ready."""
    shared = await resting_after.get()
    shared.fleet.start_all()
    await shared.fleet.ready()
    yield shared
    if surprises := shared.fleet.surprises():
        shared.broken = True
        pytest.fail("\n".join(surprises))
