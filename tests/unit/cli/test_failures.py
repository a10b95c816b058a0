"""Expected failures end as one line, a remedy and an exit code; unexpected ones stay tracebacks."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from aiokafka.errors import KafkaConnectionError

from schemas.registry import RegistryUnreachable
from schemas.signals import Invalid
from streams.cli import failure as f
from streams.cli.clickhouse import _failure
from streams.cli.connect import where
from streams.cli.main import main
from streams.local.process import ProcessFailed
from streams.settings import get_settings

CODES = {f.Unwanted: 1, f.BadInput: 3, f.Unreachable: 4, f.NotFound: 5, f.TimedOut: 6, f.Refused: 7}


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_each_kind_of_failure_has_its_exit_code(kind: type[f.Failure], code: int) -> None:
    assert kind("message").code == code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KafkaConnectionError("x"), 4, "Kafka doesn't answer at b:9"),
        (httpx.ConnectError("x"), 4, "no answer over HTTP"),
        (RegistryUnreachable("the registry at r can't be reached"), 4, "the registry at r"),
        (Invalid("undecodable", "mend it"), 3, "mend it"),
        (ProcessFailed("Kafka ended"), 1, "Kafka ended"),
    ],
)
def test_a_librarys_expected_error_says_what_to_do(error: Exception, code: int, said: str) -> None:
    found = f.translate(error, "b:9")
    assert found is not None
    assert found.code == code
    assert said in found.message
    assert code == 3 or found.hint


def test_an_error_that_nobody_expected_is_not_dressed_up() -> None:
    assert f.translate(KeyError("x")) is None


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (500, "Code: 62. DB::Exception: Syntax error: failed at position 1 (version 26.9.1)", f.BadInput),
        (404, "Code: 60. DB::Exception: Unknown table expression identifier 'reslts'", f.BadInput),
        (403, "Code: 497. DB::Exception: analyst: Not enough privileges", f.Refused),
        (500, "Code: 164. DB::Exception: Cannot execute query in readonly mode", f.Refused),
        (401, "Code: 516. DB::Exception: Authentication failed", f.Refused),
    ],
)
def test_clickhouses_errors_keep_their_words_and_lose_their_version(
    status: int, text: str, kind: type[f.Failure]
) -> None:
    found = _failure(status, text)
    assert isinstance(found, kind)
    assert text.partition(" (version")[0] in found.message
    assert "(version" not in found.message


def sluice(*arguments: str) -> int:
    """The exit code of a command run in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["sluice", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


@pytest.fixture
def nothing_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A home without a stack, and ports on which nothing listens."""
    monkeypatch.setenv("SLUICE_BROKERS", "127.0.0.1:1")
    monkeypatch.setenv("SLUICE_CLICKHOUSE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    for cached in (where, get_settings):
        cached.cache_clear()
    yield
    for cached in (where, get_settings):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["tail", "results"], 4),
        (["topics", "diff"], 4),
        (["query", "SELECT 1"], 4),
        (["pause", "smollm2-chat"], 4),
        (["trace", "r1", "--tenant", "acme"], 4),
        (["dead-letters", "list"], 4),
        (["submit", "hello", "--tenant", "acme"], 4),
        (["config", "check", "does-not-exist.yaml"], 3),
        (["submit", "hello"], 3),
        (["quarantine", "resolve", "llm.calls.m.batch-0-1"], 2),
        (["no-such-command"], 2),
        (["status"], 1),
    ],
)
@pytest.mark.usefixtures("nothing_up")
def test_without_a_stack_each_command_says_so_without_a_traceback(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sluice(*arguments) == code
    said = capsys.readouterr().err
    assert said
    assert "Traceback" not in said


def test_the_version_is_printed_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "streams.cli.main", "version"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("sluice ")
    for heavy in ("typer", "rich", "pydantic", "aiokafka", "asyncio"):
        assert f" {heavy}\n" not in done.stderr
