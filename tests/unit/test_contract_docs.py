"""What the contract's documents name is what the code names."""

import re
from pathlib import Path

import pytest

from processors.route.controls import _AUDITED
from schemas import names
from schemas.definitions import self_contained
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


def code(*folders: str) -> str:
    return "\n".join(f.read_text() for folder in folders for f in sorted((REPOSITORY / folder).rglob("*.py")))


def told(record: str, field: str) -> set[str]:
    """The values that a field's documentation lists."""
    doc = next(f["doc"] for f in self_contained(record)["fields"] if f["name"] == field)
    return set(doc.rstrip(".").split(" | "))


def test_every_reason_of_a_dead_letter_is_documented_and_has_its_remedy() -> None:
    stages = code("processors/classify", "processors/route", "schemas", "sinks", "streams")
    given = set(re.findall(r'\bInvalid\(\s*"(\w+)"', stages))
    given |= set(re.findall(r'_(?:dead_)?letter\(\w+(?:\.\w+)?, "(\w+)"', stages))
    assert {"undecodable", "too_large", "invalid_control", "reply_topic_missing", "poison"} <= given
    given -= {"internal"}  # call makes an outcome of it, no letter
    assert told("sluice.DeadLetter", "reason") == given | {"unknown_outcome"}
    runbook = (REPOSITORY / "docs/runbook.md").read_text()
    assert [reason for reason in sorted(given) if f"`{reason}`" not in runbook] == []


def test_every_audited_action_is_documented() -> None:
    given = set(
        re.findall(r'audit_(?:request|control)\(\s*(?:draft, control, )?"(\w+)"', code("processors/route"))
    )
    given |= set(re.findall(r'action="(\w+)"', code("processors/route")))
    given |= {"duplicate", "conflict", *_AUDITED.values()}
    assert told("sluice.AuditEvent", "action") == given
