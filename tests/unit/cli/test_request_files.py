"""Requests from the command line and from files: what is sent, and what is said about what can't be."""

import io
import time
from pathlib import Path

import pytest

from streams.cli.failure import BadInput
from streams.cli.request_files import Given, requests


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def from_file(path: Path, **fields: str | None) -> Given:
    return Given(prompt=None, file=path, fields=fields)


def test_a_prompt_becomes_one_request_with_an_id_of_its_own() -> None:
    given = Given(
        "Say hello", None, {"tenant": "acme", "model": None}, {"max_tokens": 5, "temperature": None}
    )
    first, second = requests(given), requests(given)
    assert [r.prompt for r in first] == ["Say hello"]
    assert first[0].id != second[0].id
    assert first[0].model is None
    assert first[0].parameters is not None
    assert (first[0].parameters.max_tokens, first[0].parameters.temperature) == (5, None)


def test_a_deadline_counts_from_now() -> None:
    before = time.time() * 1000
    [request] = requests(Given("x", None, {"tenant": "acme"}, deadline_s=30))
    assert 29_000 <= (request.deadline_at or 0) - before <= 31_000


def test_a_line_wins_over_the_command_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"prompt": "one", "tenant": "own", "parameters": {"top_p": 0.5}, "max_tokens": 7}',
        "",
        '{"messages": [{"role": "user", "content": [{"type": "text", "text": "two"}]}], "deadline": "5m"}',
    )
    given = Given(None, path, {"tenant": "acme"}, {"max_tokens": 9})
    one, two = requests(given)
    assert one.tenant == "own"
    assert one.parameters is not None and two.parameters is not None
    assert (one.parameters.top_p, one.parameters.max_tokens) == (0.5, 7)
    assert (two.tenant, two.parameters.max_tokens) == ("acme", 9)
    assert two.messages[0].content[0].text == "two"
    assert two.deadline_at is not None


def test_a_prompt_may_hold_any_of_unicodes_line_separators(tmp_path: Path) -> None:
    [request] = requests(from_file(write(tmp_path, '{"prompt": "a\u2028b\x85c", "tenant": "acme"}')))
    assert request.prompt == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"promt": "x", "tenant": "acme"}', "unknown field 'promt': did you mean 'prompt'?"),
        ('{"prompt": "x"}', 'no "tenant"'),
        ('{"tenant": "acme"}', 'nothing to answer: give "prompt" or "messages"'),
        ("nonsense", "not JSON: Expecting value at column 1"),
        ('["x"]', "a line is a JSON object, not list"),
        ('{"prompt": 7, "tenant": "acme"}', "in `prompt`"),
        (
            '{"prompt": "x", "tenant": "acme", "parameters": {"maxtokens": 1}}',
            "parameters: unknown field 'maxtokens'",
        ),
        ('{"prompt": "x", "tenant": "acme", "parameters": 3}', "parameters"),
        ('{"prompt": "x", "tenant": "acme", "deadline": "soon"}', "deadline"),
    ],
)
def test_a_wrong_line_is_named_with_what_to_fix(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path, '{"prompt": "fine", "tenant": "acme"}', line)
    with pytest.raises(BadInput) as raised:
        requests(from_file(path))
    assert f"{path}:2: " in raised.value.message
    assert said in raised.value.message


def test_all_wrong_lines_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, *["{"] * 30)
    with pytest.raises(BadInput) as raised:
        requests(from_file(path))
    assert raised.value.message.count(f"{path}:") == 20
    assert "and 10 more" in raised.value.message
    assert "nothing was sent" in (raised.value.hint or "")


@pytest.mark.parametrize(
    "given",
    [
        Given(None, None),
        Given("x", Path("file")),
        Given("  ", None, {"tenant": "acme"}),
        Given("x", None, {}),
        Given(None, Path("does-not-exist.jsonl")),
    ],
)
def test_nothing_to_send_is_an_error_that_says_what_to_give(given: Given) -> None:
    with pytest.raises(BadInput) as raised:
        requests(given)
    assert raised.value.message


def test_an_empty_file_and_an_id_for_many_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no requests"):
        requests(from_file(write(tmp_path, "", " ")))
    with pytest.raises(BadInput, match="--id"):
        requests(from_file(write(tmp_path, "{}"), id="one"))


def test_stdin_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe"))
    [request] = requests(Given("-", None, {"tenant": "acme"}))
    assert request.prompt == "from a pipe"
    monkeypatch.setattr("sys.stdin", io.StringIO('{"prompt": "p", "tenant": "acme"}\n'))
    [request] = requests(from_file(Path("-")))
    assert request.prompt == "p"
