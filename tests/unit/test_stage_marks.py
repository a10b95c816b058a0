"""How far a stage has come is committed: what moved, again and again, and once more at the end."""

import asyncio
import subprocess
import sys
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaError

from streams import faust_adapter
from streams.faust_adapter import StageApp
from streams.stage import Part, Stage

A, B = ("in", 0), ("in", 1)


class Away(KafkaError):  # type: ignore[misc]
    retriable = True


class Group:
    """Stands for the group's coordinator; `answers` are what it does with the next commits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits: list[dict[Part, int]] = []
        self.answers: list[bool | Exception] = []
        self.marks: dict[Part, int] = {A: 1, B: 1}
        self.after = 0
        monkeypatch.setattr(faust_adapter, "commit", self.commit)

    async def commit(self, app: StageApp, offsets: dict[Part, int]) -> bool:
        self.commits.append(offsets)
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def let_go(self) -> dict[Part, int]:
        return dict(self.marks)

    def stage(self) -> Stage:
        def after_commit() -> None:
            self.after += 1

        async def assigned(parts: set[Part]) -> None: ...

        return Stage(
            cast(StageApp, None), put=lambda _: None, idle=lambda _: True, on_assigned=assigned,
            on_revoked=self.let_go, marks=lambda: self.marks, after_commit=after_commit,
        )  # fmt: skip


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    return Group(monkeypatch)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_only_what_moved_is_committed(group: Group) -> None:
    following = asyncio.create_task(group.stage().follow(every_s=0))
    await until(lambda: group.commits == [{A: 1, B: 1}])
    group.marks = {A: 5, B: 1}
    await until(lambda: group.commits[1:] == [{A: 5}])
    following.cancel()
    assert group.after == 2


@pytest.mark.parametrize("answer", [False, Away()], ids=["moved on", "away"])
async def test_what_was_not_committed_is_tried_again(group: Group, answer: bool | Exception) -> None:
    group.answers = [answer]
    following = asyncio.create_task(group.stage().follow(every_s=0))
    await until(lambda: group.after == 1)
    following.cancel()
    assert group.commits == [{A: 1, B: 1}] * 2


async def test_an_error_that_stays_ends_the_loop(group: Group) -> None:
    group.answers = [KafkaError("no such group")]
    with pytest.raises(KafkaError, match="no such group"):
        await group.stage().follow(every_s=0)


async def test_the_last_marks_are_committed_when_partitions_go(group: Group) -> None:
    stage = group.stage()
    group.marks = {A: 9, B: 3}
    await stage.revoke()
    assert group.commits == [{A: 9, B: 3}]
    await stage.revoke()  # of the next generation: nothing is taken for committed
    assert group.commits == [{A: 9, B: 3}] * 2


async def test_a_revocation_does_not_fail_with_its_commit(group: Group) -> None:
    group.answers = [Away()]
    stage = group.stage()
    await stage.revoke()
    assert (group.commits, group.after) == ([{A: 1, B: 1}], 0)
    assert stage.committed == {}, "what wasn't committed is taken for committed"


def test_every_worker_reads_every_header_name() -> None:
    probe = "import streams.worker, aiokafka.consumer.fetcher as f; print(f.MemoryRecords.__module__)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "streams.header_names"
