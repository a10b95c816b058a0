"""Every query of docs/cookbook.md, run as an analyst on a made-up autumn: its answer is the one that Python finds."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.analytics_world import World
from tests.integration.cookbook import compliance, finance, operations
from tests.integration.cookbook.answers import ANSWERS
from tests.integration.seeded_analytics import reader, seeded

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cookbook.md").read_text()
QUESTIONS = dict(re.findall(r"^### (.*?)$.*?^```sql\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
assert finance and operations and compliance


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def ask(clickhouse_url: str, world: World) -> Iterator[Any]:
    with seeded(clickhouse_url, world) as access:
        client = reader(access)
        yield lambda sql: client.query(sql.replace("analytics.", f"{access.analytics}.")).result_rows
        client.close()


def test_there_are_enough_questions_and_each_has_its_answer() -> None:
    headings = re.findall(r"^### (.*)$", DOCUMENT, re.MULTILINE)
    assert len(headings) >= 25 and len(headings) == len(set(headings))
    assert list(QUESTIONS) == headings, "a question lacks its SQL, or has more than one"
    assert set(ANSWERS) == set(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_right(question: str, ask: Any, world: World) -> None:
    wanted, found = ANSWERS[question](world), [plain(row) for row in ask(QUESTIONS[question])]
    assert wanted, "the made-up autumn has nothing of it"
    left = list(found)
    for row in wanted:
        assert row in left, f"{row} is missing in {found}"
        left.remove(row)
    assert left == []
    if "LIMIT" in QUESTIONS[question]:
        assert found == wanted, "the order is another"


def plain(row: Any) -> tuple[Any, ...]:
    return tuple(_plain(value) for value in row)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value
