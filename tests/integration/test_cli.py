"""The `sluice` command as a user has it: an installation of its own, from `up` to `down`."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams import supervisor as sv
from streams.cli.connect import where
from streams.cli.kafka import Record, write
from streams.cli.main import main
from streams.local import process
from streams.settings import child_environment, get_settings

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-m", "streams.cli.main"]
_PROCESSES = {"up", "down", "demo"}


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Sluice:
    """Runs the command over one home directory."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        return child_environment(
            SLUICE_HOME=str(self.home), SLUICE_WELL_KNOWN_PORTS="false", COLUMNS="200"
        )

    def run(self, *arguments: str, code: int = 0, stdin: str | None = None) -> Done:
        """Run a command, in this process unless it starts or ends others; its end must be `code`."""
        done = self._own_process(arguments) if arguments[0] in _PROCESSES else self.here(arguments, stdin)
        assert done.code == code, f"sluice {' '.join(arguments)}: {done.code}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def _own_process(self, arguments: tuple[str, ...]) -> Done:
        done = subprocess.run(
            [*MODULE, *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=240
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def here(self, arguments: tuple[str, ...], stdin: str | None = None) -> Done:
        """Run a command in this process, whatever its end."""
        code, err, raw = 0, io.StringIO(), io.BytesIO()
        out = io.TextIOWrapper(raw, encoding="utf-8", newline="", write_through=True)
        for cached in (where, get_settings):
            cached.cache_clear()
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            patched.setenv("SLUICE_HOME", str(self.home))
            patched.setattr(sys, "argv", ["sluice", *arguments])
            patched.setattr(sys, "stdin", io.StringIO(stdin or ""))
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        for cached in (where, get_settings):
            cached.cache_clear()
        return Done(code, raw.getvalue().decode(), err.getvalue())

    def json(self, *arguments: str, code: int = 0, stdin: str | None = None) -> list[dict[str, Any]]:
        done = self.run(*arguments, "--json", code=code, stdin=stdin)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def sluice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sluice]:
    found = Sluice(tmp_path_factory.mktemp("sluice"))
    try:
        found.run("up")
        yield found
    finally:
        found.run("down")


def until(condition: Callable[[], object], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.2)


def test_up_is_ready_and_repeatable(sluice: Sluice) -> None:
    [status] = sluice.json("status")
    assert {p["name"] for p in status["parts"] if p["ready"]} == {"kafka", "registry", "clickhouse", "model"}
    assert {w["stage"] for w in status["workers"] if w["ready"]} == {
        "classify",
        "route",
        "call",
        "sink",
        "relay",
    }
    before = [w["pid"] for w in status["workers"]]
    sluice.run("up")
    [after] = sluice.json("status")
    assert [w["pid"] for w in after["workers"]] == before
    assert all(c["ok"] for c in sluice.json("doctor"))
    sluice.run("topics", "diff")


def test_a_prompt_is_answered_on_stdout_alone(sluice: Sluice) -> None:
    done = sluice.run("submit", "Say hello", "--tenant", "acme-lending", "--model", "echo", "--wait")
    assert done.stdout.strip()
    assert "succeeded" in done.stderr and "succeeded" not in done.stdout
    told = sluice.run("submit", "-", "--tenant", "acme-lending", "--model", "echo", stdin="Say hello")
    assert told.stdout.startswith("sent: ")


def test_a_file_is_answered_line_by_line_and_seen_everywhere(sluice: Sluice, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    lines = [
        {"id": f"file-{n}", "tenant": "acme-lending", "model": "echo", "prompt": f"number {n}"}
        for n in range(20)
    ]
    lines.append({"id": "file-wrong", "tenant": "acme-lending", "model": "gpt-99", "prompt": "?"})
    file.write_text("\n".join(json.dumps(x) for x in lines))
    results = sluice.json("submit", "--file", str(file), "--wait", code=1)
    statuses = {r["request_id"]: r["status"] for r in results}
    assert statuses.pop("file-wrong") == "rejected"
    assert statuses == {f"file-{n}": "succeeded" for n in range(20)}
    again = sluice.json("submit", "--file", str(file), "--wait", code=1)
    assert sorted(r["event_id"] for r in again) == sorted(r["event_id"] for r in results)

    usage = sluice.json("tail", "usage", "--all", "--no-follow", "--request", "file-3")
    assert [u["attempt"] for u in usage] == [1]
    # The repeats' notices are steps too, and land when they land.
    until(lambda: all(stored(sluice, t) == 21 for t in ("requests", "results", "result_notices", "duplicates")))
    told = sluice.json("trace", "file-3")
    steps = [(s["stage"], s["what"]) for s in told]
    # `done` is journaled once the outcome is durable: route may have finalised by then.
    assert [step for step in steps if step != ("call", "done")][:4] == [
        ("request", "published"),
        ("classify", "classified"),
        ("route", "accepted"),
        ("call", "started"),
    ]
    assert ("call", "done") in steps[4:]
    assert told[0]["at"] <= told[1]["at"] <= told[2]["at"]
    assert told[0]["place"].startswith("llm.requests-")
    assert {("usage", "succeeded"), ("route", "finalised"), ("result", "succeeded")} <= set(steps)
    by_topics = sluice.json("trace", "file-3", "--tenant", "acme-lending")
    assert len(by_topics) == len(steps)


def test_a_copy_on_the_reply_topic_is_part_of_the_story(sluice: Sluice) -> None:
    line = {"id": "copied-1", "tenant": "borealis-bank", "model": "echo", "prompt": "x"}
    line["reply_topic"] = "borealis.chat.replies"
    sluice.run("submit", "--file", "-", "--wait", stdin=json.dumps(line))

    def last_step() -> dict[str, Any]:
        return sluice.json("trace", "copied-1", "--tenant", "borealis-bank")[-1]

    until(lambda: last_step()["what"] == "copied")
    assert last_step()["to"].startswith("borealis.chat.replies-")


def stored(sluice: Sluice, table: str) -> int:
    source = "audit WHERE action = 'duplicate' AND" if table == "duplicates" else f"{table} WHERE"
    sql = f"SELECT uniqExact(request_id) AS n FROM {source} startsWith(request_id, 'file-')"
    return int(sluice.json("query", sql)[0]["n"])


def test_tail_follows_and_ends_with_its_limit(sluice: Sluice) -> None:
    follow = subprocess.Popen(
        [*MODULE, "tail", "results", "--tenant", "borealis-bank", "--since", "0", "--limit", "1", "--json"],
        cwd=ROOT, env=sluice.env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: _submit_and_poll(sluice, follow))
        out, _ = follow.communicate(timeout=10)
        assert json.loads(out)["tenant"] == "borealis-bank"
    finally:
        follow.kill()
        follow.wait()


def _submit_and_poll(sluice: Sluice, follow: "subprocess.Popen[str]") -> bool:
    for tenant in ("acme-lending", "borealis-bank"):
        sluice.run("submit", "x", "--tenant", tenant, "--model", "echo", "--wait")
    return follow.poll() is not None


def test_a_paused_model_waits_and_a_cancel_ends_it(sluice: Sluice) -> None:
    sluice.run("pause", "echo", "--reason", "a test")
    try:
        sluice.run("submit", "x", "--tenant", "acme-lending", "--model", "echo", "--id", "paused-1")
        sluice.run("submit", "x", "--tenant", "acme-lending", "--model", "echo", "--id", "paused-2")
        until(lambda: sluice.json("tail", "audit", "--all", "--no-follow", "--request", "paused-2"))
        [cancelled] = sluice.json("cancel", "paused-1", "--tenant", "acme-lending", "--wait")
        assert cancelled["status"] == "cancelled"
        assert not sluice.json("tail", "results", "--all", "--no-follow", "--request", "paused-2")
        waits = sluice.json("trace", "paused-2", "--tenant", "acme-lending")[-1]
        assert (waits["stage"], waits["what"]) == ("now", "waits")
        assert "model echo is paused since" in waits["text"] and "(a test)" in waits["text"]
        [open_] = sluice.json("status", "--proof", code=1)
        assert open_["proof"]["wrong"] == {"accepted, no terminal result": ["paused-2 (acme-lending)"]}
        assert open_["proof"]["open"] == 1 and not open_["proof"]["holds"]
    finally:
        sluice.run("resume", "echo")
    until(lambda: _status_of(sluice, "paused-2") == ["succeeded"])
    actions = [a["action"] for a in sluice.json("tail", "audit", "--all", "--no-follow")]
    assert {"paused", "resumed"} <= set(actions)
    assert "neither a model nor a tenant" in sluice.run("pause", "no-such-thing", code=5).stderr


def _status_of(sluice: Sluice, request_id: str) -> list[str]:
    return [
        r["status"] for r in sluice.json("tail", "results", "--all", "--no-follow", "--request", request_id)
    ]


def test_dead_letters_are_listed_shown_redriven_and_discarded(sluice: Sluice, tmp_path: Path) -> None:
    for _ in range(2):
        sluice.run("submit", "x", "--tenant", "a-stranger", "--wait", code=1)
    first, second = (x["id"] for x in sluice.json("dead-letters", "list", "--reason", "unknown_tenant"))
    [shown] = sluice.json("dead-letters", "show", first, "--raw", str(tmp_path / "raw"))
    assert shown["decoded"]["tenant"] == "a-stranger"
    assert (tmp_path / "raw").stat().st_size > 10

    config = tmp_path / "with-stranger.yaml"
    text = (ROOT / "config" / "sluice.yaml").read_text()
    config.write_text(text.replace("  acme-lending: {}\n", "  acme-lending: {}\n  a-stranger: {}\n"))
    sluice.run("config", "apply", str(config))
    sluice.run("dead-letters", "redrive", first, "--reason", "configured now")
    until(lambda: _status_of(sluice, shown["request_id"]) == ["succeeded"])
    sluice.run("dead-letters", "discard", second)
    assert not sluice.json("dead-letters", "list", "--reason", "unknown_tenant")
    states = {x["id"]: x["state"] for x in sluice.json("dead-letters", "list", "--all")}
    assert (states[first], states[second]) == ("redriven", "discarded")
    assert "redriven already" in sluice.run("dead-letters", "redrive", first, code=7).stderr
    until(
        lambda: (
            {"redriven", "discarded"}
            <= {a["action"] for a in sluice.json("tail", "audit", "--all", "--no-follow")}
        )
    )


async def test_what_is_no_letter_hides_no_letter(sluice: Sluice) -> None:
    [status] = await asyncio.to_thread(sluice.json, "status")
    await write(status["brokers"], [Record("llm.dead-letters", b"no letter at all")])
    listed = await asyncio.to_thread(sluice.json, "dead-letters", "list", "--all")
    [strange] = [x["id"] for x in listed if x["reason"] == "unreadable_letter"]
    assert len(listed) > 1
    [shown] = await asyncio.to_thread(sluice.json, "dead-letters", "show", strange)
    assert (shown["value"], shown["state"]) == ("no letter at all", "open")
    await asyncio.to_thread(sluice.run, "dead-letters", "redrive", strange, code=7)
    await asyncio.to_thread(sluice.run, "dead-letters", "discard", strange)
    open_ = await asyncio.to_thread(sluice.json, "dead-letters", "list")
    assert strange not in [x["id"] for x in open_]


def test_texts_are_held_and_then_erased_on_record(sluice: Sluice, tmp_path: Path) -> None:
    file = tmp_path / "ada.jsonl"
    line = {"tenant": "acme-lending", "user": "ada", "model": "echo", "prompt": "p"}
    file.write_text("\n".join(json.dumps({"id": f"ada-{n}", **line}) for n in (1, 2)))
    sluice.json("submit", "--file", str(file), "--wait")
    ada = ("--tenant", "acme-lending", "--user", "ada")

    def texts() -> list[str]:
        sql = "SELECT request_id FROM bodies WHERE startsWith(request_id, 'ada-') AND text != '' ORDER BY request_id"
        return [row["request_id"] for row in sluice.json("query", sql)]

    until(lambda: texts() == ["ada-1", "ada-2"])
    [hold] = sluice.json("legal-hold", "add", "--tenant", "acme-lending", "--request", "ada-1", "--reason", "case 4")
    assert [h["id"] for h in sluice.json("legal-hold", "list")] == [hold["id"]]
    assert "case 4" in sluice.run("erase", *ada[:2], "--request", "ada-1", "--reason", "r", "--yes", code=7).stderr
    assert sluice.json("erase", *ada, "--dry-run")[0]["bodies"] == {"rows": 1, "held": 1}
    assert "--reason" in sluice.run("erase", *ada, "--yes", code=3).stderr
    assert "--yes" in sluice.run("erase", *ada, "--reason", "she asks", code=3).stderr
    assert "spelling" in sluice.run("erase", *ada[:3], "adda", "--reason", "r", "--yes", code=5).stderr
    assert texts() == ["ada-1", "ada-2"]
    [done] = sluice.json("erase", *ada, "--reason", "she asks", "--yes", code=1)
    assert (done["bodies"], texts()) == ({"rows": 1, "held": 1}, ["ada-1"])
    kept = {c["topic"]: c["gone_by"] for c in done["elsewhere"]}
    assert kept["llm.results"] > kept["llm.requests"] > done["accepted_until"]
    [freed] = sluice.json("legal-hold", "release", hold["id"], "--reason", "settled", "--yes")
    assert (freed["bodies"], texts()) == (1, [])
    audited = "SELECT action, user, reason FROM audit WHERE action LIKE 'legal%' OR action LIKE 'eras%' ORDER BY action"
    until(lambda: len(sluice.json("query", audited)) == 3)
    assert [tuple(row.values()) for row in sluice.json("query", audited)] == [
        ("erasure_ordered", "ada", "she asks"),
        ("legal_hold_placed", "", "case 4"),
        ("legal_hold_released", "", "settled"),
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLUICE_CLICKHOUSE_USER", "analyst")
        assert "analyst" in sluice.run("erase", *ada, "--reason", "r", "--yes", code=7).stderr
    sluice.run("reconcile")


def test_every_number_is_proved_while_nothing_is_open(sluice: Sluice) -> None:
    [status] = sluice.json("status", "--proof")
    proof = status["proof"]
    assert proof["holds"] and proof["wrong"] == {} and proof["open"] == 0
    assert proof["accepted"] == proof["terminal"] == proof["in_clickhouse"] > 20
    assert f"accepted {proof['accepted']} = terminal" in sluice.run("status", "--proof").stdout


def test_a_row_that_was_lost_and_one_that_was_doubled_are_found_and_mended(sluice: Sluice) -> None:
    until(lambda: sluice.json("reconcile")[-1]["gaps"] == 0)
    [lost, doubled] = sluice.json(
        "query", "SELECT kafka_topic, kafka_partition, kafka_offset FROM usage ORDER BY recorded_at LIMIT 2"
    )
    [status] = sluice.json("status")
    clickhouse = next(p["url"] for p in status["parts"] if p["name"] == "clickhouse")
    at = "kafka_partition = {kafka_partition} AND kafka_offset = {kafka_offset}"
    for sql in (
        f"ALTER TABLE sluice.usage DELETE WHERE {at.format(**lost)} SETTINGS mutations_sync = 2",
        f"INSERT INTO sluice.usage SELECT * FROM sluice.usage WHERE {at.format(**doubled)}",
    ):
        httpx.post(clickhouse, content=sql).raise_for_status()
    said = sluice.run("reconcile", code=1).stdout
    for row in (lost, doubled):
        assert f"usage: {row['kafka_topic']}-{row['kafka_partition']} offset {row['kafka_offset']}" in said
    assert "2 mended" in sluice.run("reconcile", "--repair").stdout
    assert sluice.json("reconcile", "--from", "1d")[-1]["gaps"] == 0
    told = "SELECT kind, mended, count() AS n FROM analytics.reconciliations WHERE event = 'finding' GROUP BY ALL"
    assert {(r["kind"], r["mended"]) for r in sluice.json("query", told)} >= {
        ("missing", False), ("duplicated", False), ("missing", True), ("duplicated", True),
    }  # fmt: skip


def test_queries_only_read(sluice: Sluice) -> None:
    assert sluice.json("query", "SELECT toUInt64(7) AS a, 'x' AS b") == [{"a": 7, "b": "x"}]
    assert sluice.run("query", "SELECT 1 AS a", "--csv").stdout == '"a"\n1\n'
    assert "Syntax error" in sluice.run("query", "SELEC 1", code=3).stderr
    assert sluice.run("query", "DROP TABLE results", code=7).stderr
    assert "SHOW TABLES" in sluice.run("query", "SELECT * FROM nothing", code=3).stderr


def test_the_tables_are_told_and_the_rights_of_readers(sluice: Sluice) -> None:
    [status] = sluice.json("clickhouse", "status")
    assert status["ok"] and {m["state"] for m in status["migrations"]} == {"applied"}
    assert "nothing to do" in sluice.run("clickhouse", "migrate").stdout
    assert "### analytics.results" in sluice.run("clickhouse", "describe").stdout
    on_cluster = sluice.run("clickhouse", "migrate", "--cluster", "one", "--print").stdout
    assert "ENGINE = Distributed('one', 'sluice', 'results_local'" in on_cluster
    rights = sluice.run("clickhouse", "grants", "--user", "bob", "--tenant", "acme-lending").stdout
    assert "USING tenant = 'acme-lending' TO `sluice_tenant_acme-lending`;" in rights
    assert "two users" in sluice.run("clickhouse", "grants", "--user", "bob", "--apply", code=7).stderr
    given = sluice.run("clickhouse", "grants", "--user", "bob", "--password", "hunter2", code=3).stderr
    assert "env:NAME" in given and "hunter2" not in given


def test_a_wrong_configuration_changes_nothing(sluice: Sluice, tmp_path: Path) -> None:
    [before] = sluice.json("config", "show")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        (ROOT / "config" / "sluice.yaml").read_text().replace("vendor_model: echo", "vendor_modle: echo")
    )
    said = sluice.run("config", "apply", str(wrong), code=3).stderr
    assert f"{wrong}:" in said and "vendor_modle" in said
    assert sluice.json("config", "show") == [before]


def test_a_killed_worker_comes_back_and_is_shown(sluice: Sluice) -> None:
    [before] = sluice.json("status")
    route = next(w for w in before["workers"] if w["stage"] == "route")
    os.kill(route["pid"], signal.SIGKILL)

    def back() -> bool:
        done = sluice.here(("status", "--json"))  # its end is 1 until all are ready
        now = next(w for w in json.loads(done.stdout)["workers"] if w["stage"] == "route")
        return bool(now["ready"] and now["pid"] != route["pid"] and now["restarts"] == route["restarts"] + 1)

    until(back)
    done = sluice.run("submit", "still there?", "--tenant", "acme-lending", "--model", "echo", "--wait")
    assert done.stdout.strip()


def test_a_quarantined_request_waits_for_a_person(sluice: Sluice, tmp_path: Path) -> None:
    config = tmp_path / "quarantine.yaml"
    text = (ROOT / "config" / "sluice.yaml").read_text()
    text = text.replace("  acme-lending: {}\n", "  acme-lending: {on_unknown: quarantine}\n")
    config.write_text(text.replace("latency_ms: 50", "latency_ms: 8000"))
    sluice.run("config", "apply", str(config))
    lines = [{"id": f"unknown-{n}", "tenant": "acme-lending", "model": "echo", "prompt": "x"} for n in (1, 2)]
    sluice.run("submit", "--file", "-", stdin="\n".join(json.dumps(x) for x in lines))
    until(lambda: "started" in _told(sluice, "unknown-1") and "started" in _told(sluice, "unknown-2"))
    owner = process.find(sluice.home / "run" / "worker-call.pid")
    assert owner is not None
    os.kill(owner.pid, signal.SIGKILL)
    until(lambda: len(sluice.json("quarantine", "list")) == 2)
    first, second = (x["id"] for x in sluice.json("quarantine", "list"))
    assert "quarantine resolve" in sluice.run("dead-letters", "redrive", first, code=7).stderr
    assert sluice.run("dead-letters", "discard", first, code=7).stderr
    sluice.run("quarantine", "resolve", first, "--retry", "--reason", "it was not billed")
    sluice.run("quarantine", "resolve", second, "--fail")
    until(lambda: _status_of(sluice, "unknown-1") == ["succeeded"])
    until(lambda: _status_of(sluice, "unknown-2") == ["failed"])
    assert not sluice.json("quarantine", "list")
    assert {"quarantined", "resolved", "retried"} <= set(_told(sluice, "unknown-1"))
    sluice.run("config", "apply", str(ROOT / "config" / "sluice.yaml"))


def _told(sluice: Sluice, request_id: str) -> list[str]:
    """What has happened to a request so far, by Kafka or ClickHouse; nothing while nobody knows of it."""
    done = sluice.here(("trace", request_id, "--tenant", "acme-lending", "--json"))
    return [json.loads(line)["what"] for line in done.stdout.splitlines()]


def test_the_demo_holds_and_leaves_running_what_ran(sluice: Sluice) -> None:
    [end] = sluice.json("demo", "--requests", "12")
    assert end["holds"], end["wrong"]
    assert end["accepted"] == end["terminal"] == end["in_clickhouse"] > 12
    assert {r["tenant"] for r in end["by_model"]} == {"acme-lending", "borealis-bank"}
    assert {r["reason"] for r in end["dead_letters"]} >= {
        "undecodable",
        "unknown_schema",
        "null_value",
        "unknown_tenant",
    }
    assert {r["status"] for r in end["refused"]} == {"rejected", "expired"}
    sluice.run("status")


def test_down_ends_every_process(sluice: Sluice) -> None:
    before = pids(sluice)
    supervisor = sv.running(sluice.home)
    sluice.run("down")
    assert supervisor is not None
    assert [p for p in (*before, supervisor.pid) if process.identify(p)] == []
    assert sluice.run("status", code=1)


def pids(sluice: Sluice) -> list[int]:
    """The processes that run now, by what their pid files say."""
    found = [process.find(f) for f in (sluice.home / "run").glob("*.pid")]
    return [p.pid for p in found if p is not None]


def test_an_interrupted_demo_leaves_nothing_running_and_loses_nothing(sluice: Sluice) -> None:
    demo = subprocess.Popen(
        [*MODULE, "demo", "--requests", "12"], cwd=ROOT, env=sluice.env, stdout=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    for line in demo.stdout:  # a line of the progress with some requests on their way
        if line.startswith("published") and "published 0/" not in line:
            break
    running = pids(sluice)
    assert len(running) >= 10  # four parts, a supervisor and how it was started, five workers
    demo.send_signal(signal.SIGINT)
    demo.stdout.read()
    assert demo.wait(60) == 130
    assert pids(sluice) == []
    assert [p for p in running if process.identify(p)] == []

    [end] = sluice.json("demo", "--requests", "12")
    assert end["holds"], end["wrong"]
    assert end["accepted"] > 12 + 17  # what was accepted before, by the interrupted run too, is among them
    assert end["first_answer_s"] > 0
    print(f"second run: first answer after {end['first_answer_s']} s of {end['seconds']} s")
    assert pids(sluice) == []
