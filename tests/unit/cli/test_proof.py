"""The proof of completeness holds only where numbers and ids agree, and names the ids where they don't."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from processors.route.changes import Progress
from schemas import names
from streams.cli import proof
from streams.cli.proof import Found

IDS = tuple(("acme", f"r{n}") for n in range(5))


def found(
    accepted: Iterable[proof.Id] = IDS,
    terminal: Iterable[proof.Id] = IDS,
    stored: Iterable[proof.Id] = IDS,
    trimmed: Iterable[str] = (),
    progress: tuple[int, int] | None = None,
) -> Found:
    accepted, terminal = Counter(accepted), Counter(terminal)
    counted = progress or (accepted.total(), terminal.total())
    own = Progress(accepted=counted[0], terminal=counted[1])
    return Found(own, accepted, terminal, Counter(stored), frozenset(trimmed))


def test_it_holds_where_all_agree() -> None:
    assert found().hold
    assert found().line() == "accepted 5 = terminal 5 = in ClickHouse 5"
    assert found().differences() == {}


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (found(terminal=IDS[1:], stored=IDS[1:]), {"accepted, no terminal result": ["r0 (acme)"]}),
        (found(stored=IDS[1:]), {"terminal result, not in ClickHouse": ["r0 (acme)"]}),
        (found(progress=(6, 5)), {}),
        (
            found(terminal=[*IDS, IDS[0]], stored=[*IDS, IDS[0]]),
            {"two terminal results": ["r0 (acme)"], "twice in ClickHouse": ["r0 (acme)"]},
        ),
        (found(stored=[*IDS, IDS[0]]), {"twice in ClickHouse": ["r0 (acme)"]}),
    ],
)
def test_numbers_that_differ_are_no_proof(seen: Found, wrong: dict[str, list[str]]) -> None:
    assert not seen.hold
    assert seen.differences() == wrong


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (
            found(terminal=[*IDS[1:], ("acme", "x")], stored=[*IDS[1:], ("acme", "x")]),
            {
                "accepted, no terminal result": ["r0 (acme)"],
                "terminal result, never accepted": ["x (acme)"],
                "in ClickHouse, never accepted": ["x (acme)"],
            },
        ),
        (
            found(stored=[*IDS[1:], ("acme", "x")]),
            {"terminal result, not in ClickHouse": ["r0 (acme)"], "in ClickHouse, never accepted": ["x (acme)"]},
        ),
        (
            found(terminal=[*IDS[1:], IDS[1]], stored=[*IDS[1:], IDS[1]]),
            {
                "accepted, no terminal result": ["r0 (acme)"],
                "two terminal results": ["r1 (acme)"],
                "twice in ClickHouse": ["r1 (acme)"],
            },
        ),
    ],
)
def test_one_too_few_and_one_too_many_make_no_sum(seen: Found, wrong: dict[str, list[str]]) -> None:
    assert seen.counts() == (5, 5, 5)
    assert not seen.hold
    assert seen.differences() == wrong


def test_an_id_used_again_after_the_retention_is_no_double() -> None:
    again = [*IDS, IDS[0]]
    assert found(again, again, again).hold


def test_what_retention_has_removed_is_left_out_of_all_three() -> None:
    rest = IDS[2:]
    seen = found(terminal=rest, trimmed=[names.RESULTS], progress=(5, 5))
    assert seen.hold
    assert (seen.counts(), seen.left) == ((3, 3, 3), 2)
    audit_too = found(rest, rest, trimmed=[names.RESULTS, names.AUDIT], progress=(5, 5))
    assert audit_too.hold


def test_open_requests_are_counted() -> None:
    assert found(progress=(7, 5)).open == 2


class _Record:
    def __init__(self, kind: str, request_id: str) -> None:
        told = {names.HEADER_KIND: kind, names.HEADER_TENANT: "acme", names.HEADER_REQUEST_ID: request_id}
        self.headers = [(k, v.encode()) for k, v in told.items()]


async def test_a_request_with_two_terminal_results_is_counted_not_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def read(brokers: str, topic: str) -> Any:
        for kind, request_id in (("terminal", "a"), ("duplicate", "a"), ("terminal", "a"), ("terminal", "b")):
            yield _Record(kind, request_id)

    monkeypatch.setattr(proof, "read", read)
    seen = await proof._ids("b:1", names.RESULTS, "terminal")
    assert seen == {("acme", "a"): 2, ("acme", "b"): 1}
