"""What the contract's documents name is what the code names."""

import re
from pathlib import Path

import pytest

from schemas import names
from schemas.registry import TOPIC_RECORDS

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = ("docs/publishing.md", "docs/consuming.md", "examples/publishers/README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    file = REPOSITORY / document
    links = re.findall(r"\]\(([^)#\s]+)\)", file.read_text())
    assert links
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_consumers_are_told_every_header() -> None:
    headers = {value for name, value in vars(names).items() if name.startswith("HEADER_")}
    told = set(
        re.findall(r"^\| `([a-z-]+)` \|", (REPOSITORY / "docs/consuming.md").read_text(), re.MULTILINE)
    )
    assert told == headers


@pytest.mark.parametrize("document", DOCUMENTS[:2])
def test_topics_and_records_are_named_right(document: str) -> None:
    text = (REPOSITORY / document).read_text()
    rows = re.findall(r"^\| `(llm\.[a-z-]+)` \| \[`(sluice\.\w+)`\]", text, re.MULTILINE)
    assert all(TOPIC_RECORDS[topic] == record for topic, record in rows)
    assert set(re.findall(r"`(llm\.[a-z.-]+?)(?:-value)?`", text)) <= set(TOPIC_RECORDS)
