"""The embedded ClickHouse over HTTP, on the real engine, with the clients that people use."""

import asyncio
import gzip
import json
import os
import signal
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clickhouse_connect
import httpx
import lz4.frame
import psutil
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streams.local.clickhouse_server.compression import Decoder, encoder
from streams.local.clickhouse_server.errors import NAMES
from tests.integration.clickhouse_process import Running


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Starts servers, which end with the module."""
    started: list[Running] = []

    def one(path: Path | None = None, *options: str) -> Running:
        started.append(Running(path or tmp_path_factory.mktemp("clickhouse"), *options))
        return started[-1]

    yield one
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="module")
def server(start: Callable[..., Running]) -> Running:
    """A server without passwords."""
    return start()


@pytest.fixture
def table(server: Running) -> str:
    """An empty table: id UInt64, name String; it remembers the tokens of its inserts."""
    name = f"t_{uuid.uuid4().hex}"
    server.ask(
        f"CREATE TABLE {name} (id UInt64, name String) ENGINE = MergeTree ORDER BY id "
        "SETTINGS non_replicated_deduplication_window = 1000"
    ).raise_for_status()
    return name


def _packed(encoding: str, data: bytes) -> bytes:
    packer = encoder(encoding)
    return packer.compress(data) + packer.flush()


def _unpacked(encoding: str, data: bytes) -> bytes:
    decoder = Decoder(encoding, most=1 << 30)
    decoder.feed(data)
    return decoder.read()


def eventually(found: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


# --- clients ---------------------------------------------------------------------------------------------------


def test_sync_client_reads_what_it_wrote(server: Running, table: str) -> None:
    client = server.client()
    rows = [(i, f"name {i} ä\t\n'\\") for i in range(30_000)]
    summary = client.insert(table, rows, column_names=["id", "name"])
    assert summary.written_rows == 30_000
    assert client.query(f"SELECT id, name FROM {table} ORDER BY id").result_rows == rows
    client.close()


async def test_async_client_reads_what_it_wrote(server: Running, table: str) -> None:
    async with await clickhouse_connect.get_async_client(host="127.0.0.1", port=server.port) as client:
        await client.insert(table, [[1, "a"], [2, "b"]], column_names=["id", "name"])
        counts = await asyncio.gather(*(client.query(f"SELECT count() FROM {table}") for _ in range(20)))
        assert {result.result_rows[0][0] for result in counts} == {2}


def test_types_survive_the_round_trip(server: Running) -> None:
    client = server.client()
    name = f"t_{uuid.uuid4().hex}"
    client.command(
        f"CREATE TABLE {name} (i Int64, n Nullable(UInt32), d Decimal(18, 9), t DateTime64(3, 'UTC'), "
        "l LowCardinality(String), a Array(String), m Map(String, String), u UUID, b Bool) "
        "ENGINE = MergeTree ORDER BY i"
    )
    asked = f"SELECT * FROM {name} ORDER BY i"
    client.command(
        f"INSERT INTO {name} VALUES (-5, NULL, 1.000000001, '2024-02-29 12:00:00.123', 'x', ['p', 'q'], "
        "{'k': 'v'}, '61f0c404-5cb3-11e7-907b-a6006ad3dba0', true), (7, 9, 0, 0, '', [], {}, "
        "'00000000-0000-0000-0000-000000000000', false)"
    )
    first = client.query(asked).result_rows
    copy = f"{name}_copy"
    client.command(f"CREATE TABLE {copy} AS {name}")
    client.insert(copy, first, column_names="*")
    assert client.query(asked.replace(name, copy)).result_rows == first
    assert [row[0] for row in first] == [-5, 7]


def test_client_parameters_settings_and_database(server: Running) -> None:
    client = server.client()
    client.command("CREATE DATABASE IF NOT EXISTS other")
    asked = "SELECT {x:UInt8} + 1, {s:String}, {a:Array(String)}, getSetting('max_block_size'), currentDatabase()"
    nasty = "it's \t a \\ and \n more"
    parameters = {"x": 4, "s": nasty, "a": ["p'", "q\\"]}
    other = server.client(database="other", settings={"max_block_size": 77})
    assert other.query(asked, parameters=parameters).result_rows == [(5, nasty, ["p'", "q\\"], 77, "other")]
    assert client.query("SELECT getSetting('max_block_size') != 77").result_rows == [(1,)]


def test_arrow_pandas_and_raw_formats(server: Running) -> None:
    client = server.client()
    frame = client.query_df("SELECT number AS n, toString(number) AS s FROM numbers(1000)")
    assert int(frame["n"].sum()) == 499_500 and list(frame.columns) == ["n", "s"]
    assert client.query_arrow("SELECT number AS n FROM numbers(1000)").num_rows == 1000
    assert json.loads(client.raw_query("SELECT 1 AS one", fmt="JSONEachRow")) == {"one": 1}
    with client.raw_stream("SELECT number FROM numbers(100000)", fmt="TabSeparated") as stream:
        assert len(stream.read().splitlines()) == 100_000


def test_session_keeps_temporary_tables_and_settings_but_not_a_requests_own(server: Running) -> None:
    client = server.client(session_id=uuid.uuid4().hex)
    client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    client.insert("mine", [[1], [2]], column_names=["a"])
    client.command("SET max_block_size = 55")
    setting = "SELECT getSetting('max_block_size')"
    assert client.query(setting, settings={"max_block_size": 66}).result_rows == [(66,)]
    assert client.query(setting).result_rows == [(55,)]
    assert client.query("SELECT sum(a) FROM mine").result_rows == [(3,)]
    assert server.ask("SELECT * FROM mine").status_code == 404


def test_session_in_use_is_locked(server: Running) -> None:
    session = uuid.uuid4().hex
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.ask, "SELECT sleep(1)", session_id=session)
        eventually(lambda: b"sleep(1)" in server.ask("SELECT query FROM system.processes").content)
        assert server.ask("SELECT 1", session_id=session).headers["X-ClickHouse-Exception-Code"] == "373"
        assert slow.result().status_code == 200
    gone = server.ask("SELECT 1", session_id="never seen", session_check="1")
    assert (gone.status_code, gone.headers["X-ClickHouse-Exception-Code"]) == (500, "372")


def test_external_table_comes_with_the_query(server: Running) -> None:
    files = {"ext": ("ext", b"1\tx\n2\ty\n")}
    parameters = {"query": "SELECT sum(a), max(b) FROM ext", "ext_structure": "a UInt8, b String"}
    answer = httpx.post(server.url, params=parameters, files=files)
    assert answer.text == "3\ty\n"


# --- inserts ---------------------------------------------------------------------------------------------------

ROWS = {
    "TabSeparated": b"1\tx\n2\ty\n",
    "JSONEachRow": b'{"id": 1, "name": "x"}\n{"id": 2, "name": "y"}\n',
    "CSV": b'1,"x"\n2,"y"\n',
    "RowBinary": b"".join(i.to_bytes(8, "little") + b"\x01" + s for i, s in ((1, b"x"), (2, b"y"))),
    "Native": b"\x02\x02\x02id\x06UInt64" + b"\1" + bytes(7) + b"\2" + bytes(7) + b"\x04name\x06String\x01x\x01y",
    "Values": b"(1, 'x'), (2, 'y')",
}


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("place", ["query", "body", "both"])
def test_insert_formats(server: Running, table: str, form: str, place: str) -> None:
    statement, data = f"INSERT INTO {table} (id, name) FORMAT {form}", ROWS[form]
    if place == "query":
        answer = server.ask(data, query=statement)
    elif place == "body":
        answer = server.ask(statement.encode() + b"\n" + data)
    else:
        answer = server.ask(f"FORMAT {form}\n".encode() + data, query=f"INSERT INTO {table} (id, name)")
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert server.ask(f"SELECT * FROM {table} ORDER BY id").text == "1\tx\n2\ty\n"


@pytest.mark.parametrize("query", ["INSERT INTO {} FORMAT Native\n", "INSERT INTO {} FORMAT Native \n\n"])
def test_blanks_behind_the_statement_are_no_data(server: Running, table: str, query: str) -> None:
    server.ask(ROWS["Native"], query=query.format(table)).raise_for_status()
    assert server.ask(f"SELECT count() FROM {table}").text == "2\n"


def test_a_block_may_begin_with_a_byte_that_looks_blank(server: Running) -> None:
    name = f"t_{uuid.uuid4().hex}"
    columns = [f"c{i}" for i in range(10)]  # a Native block begins with the number of its columns: 10 is a newline
    declared = ", ".join(f"{column} UInt8" for column in columns)
    server.ask(f"CREATE TABLE {name} ({declared}) ENGINE = MergeTree ORDER BY c0").raise_for_status()
    block = b"\x0a\x01" + b"".join(b"\x02%s\x05UInt8\x07" % column.encode() for column in columns)
    server.ask(block, query=f"INSERT INTO {name} FORMAT Native").raise_for_status()
    server.ask(f"INSERT INTO {name} FORMAT Native\n".encode() + block).raise_for_status()
    assert server.ask(f"SELECT count(), sum(c9) FROM {name}").text == "2\t14\n"


def test_values_with_a_semicolon(server: Running, table: str) -> None:
    server.ask(f"INSERT INTO {table} VALUES (1, 'a;b'), (2, '');\n").raise_for_status()
    assert server.ask(f"SELECT count() FROM {table}").text == "2\n"


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": lambda data: _packed("zstd", data),
}


@pytest.mark.parametrize("encoding", ENCODERS)
def test_insert_and_answer_compressed(server: Running, table: str, encoding: str) -> None:
    data = b"".join(b"%d\tname of %d\n" % (i, i) for i in range(200_000))
    answer = httpx.post(
        server.url,
        params={"query": f"INSERT INTO {table} FORMAT TSV"},
        content=ENCODERS[encoding](data),
        headers={"Content-Encoding": encoding},
    )
    assert answer.status_code == 200, answer.text
    headers = {"Accept-Encoding": encoding, "Content-Encoding": encoding}
    asked = ENCODERS[encoding](f"SELECT * FROM {table} ORDER BY id".encode())
    decoders: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress,
        "deflate": zlib.decompress,
        "lz4": lz4.frame.decompress,
        "zstd": lambda data: _unpacked("zstd", data),
    }
    for waits in ("0", "1"):
        with httpx.stream(
            "POST", server.url, content=asked, headers=headers, params={"wait_end_of_query": waits}
        ) as answer:
            assert answer.headers["Content-Encoding"] == encoding
            assert decoders[encoding](b"".join(answer.iter_raw())) == data


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_client_with_each_compression(server: Running, table: str, compress: str | bool) -> None:
    client = server.client(compress=compress)
    rows = [(i, "x" * 50) for i in range(50_000)]
    client.insert(table, rows, column_names=["id", "name"])
    assert client.query(f"SELECT * FROM {table} ORDER BY id").result_rows == rows


def test_broken_or_unknown_encoding_inserts_nothing(server: Running, table: str) -> None:
    whole = gzip.compress(ROWS["TabSeparated"])
    for encoding, body in (("gzip", whole[:-5]), ("gzip", b"no gzip at all"), ("snappy", b"x")):
        answer = httpx.post(
            server.url,
            params={"query": f"INSERT INTO {table} FORMAT TSV"},
            content=body,
            headers={"Content-Encoding": encoding},
        )
        assert answer.status_code >= 400 and "X-ClickHouse-Exception-Code" in answer.headers
    assert server.ask(f"SELECT count() FROM {table}").text == "0\n"


def test_broken_row_inserts_nothing(server: Running, table: str) -> None:
    answer = server.ask(f"INSERT INTO {table} FORMAT TSV\n1\tx\nno number\ty\n")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (400, "27")
    assert server.ask(f"SELECT count() FROM {table}").text == "0\n"


def test_token_makes_an_insert_repeatable(server: Running, table: str) -> None:
    client = server.client()
    for token in ("a", "a", "b"):
        client.insert(
            table, [[1, "x"]], column_names=["id", "name"], settings={"insert_deduplication_token": token}
        )
    assert client.query(f"SELECT count() FROM {table}").result_rows == [(2,)]


def test_a_trickle_of_inserts_is_merged_and_not_over_and_over(server: Running, table: str) -> None:
    for n in range(60):
        server.ask(f"INSERT INTO {table} VALUES ({n}, 'x')").raise_for_status()
    asked = f"SELECT max(level) FROM system.parts WHERE active AND table = '{table}'"
    eventually(lambda: server.ask(asked).text != "0\n")
    time.sleep(0.5)
    assert int(server.ask(asked).text) <= 4


def test_input_is_refused_as_the_engine_would_lose_the_rows(server: Running, table: str) -> None:
    statement = f"INSERT INTO {table} SELECT id + 1, name FROM input('id UInt64, name String') FORMAT TSV"
    answer = server.ask(f"{statement}\n1\tx\n")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (501, "48")


def test_body_beyond_the_limit_is_413(server: Running, table: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield b"1\tx\n" * (1 << 18)

    with socket.create_connection(("127.0.0.1", server.port)) as declared:
        declared.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        assert declared.recv(12) == b"HTTP/1.1 413"
    bomb = gzip.compress(bytes(300 << 20), 1)
    inflated = httpx.post(server.url, content=bomb, headers={"Content-Encoding": "gzip"}, timeout=60)
    assert inflated.status_code == 413
    with pytest.raises(httpx.HTTPError):  # a chunked body is cut off as soon as it is too long
        statement = {"query": f"INSERT INTO {table} FORMAT TSV"}
        httpx.post(server.url, params=statement, content=endless()).raise_for_status()
    assert server.ask(f"SELECT count() FROM {table}").text == "0\n"


# --- queries ---------------------------------------------------------------------------------------------------


def test_default_format(server: Running) -> None:
    assert server.ask("SELECT 1 AS a, 'x' AS b").text == "1\tx\n"
    assert server.ask("SELECT 1 AS a", default_format="JSONEachRow").json() == {"a": 1}
    answer = httpx.post(server.url, content="SELECT 1 AS a", headers={"X-ClickHouse-Format": "CSVWithNames"})
    assert (answer.text, answer.headers["X-ClickHouse-Format"]) == ('"a"\n1\n', "CSVWithNames")
    assert server.ask("SELECT 1 AS a FORMAT TSVWithNames", default_format="JSON").text == "a\n1\n"


def test_headers(server: Running) -> None:
    answer = server.ask("SELECT number FROM numbers(10)", query_id="my-id")
    assert answer.headers["X-ClickHouse-Query-Id"] == "my-id"
    assert answer.headers["X-ClickHouse-Timezone"] == server.ask("SELECT timezone()").text.strip()
    summary = json.loads(answer.headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("10", "10")


ERRORS = [
    ("SELECT * FROM no_such_table", 404, 60),
    ("SELECT * FROM no_such_database.x", 404, 81),
    ("SELECT no_such_column", 404, 47),
    ("SELECT noSuchFunction(1)", 404, 46),
    ("SELECT 1 SETTINGS no_such_setting = 1", 404, 115),
    ("SELECT 1 FORMAT NoSuchFormat", 404, 73),
    ("SELEKT 1", 400, 62),
    ("", 400, 62),
    ("SELECT 1; SELECT 2", 400, 62),
    ("SELECT toUInt8('x')", 400, 6),
    ("SELECT {x:UInt8}", 500, 456),
    ("SELECT throwIf(1)", 500, 395),
    ("SELECT 1 INTO OUTFILE '/tmp/no'", 500, 358),
    ("INSERT INTO no_such_table FORMAT TSV\n1\n", 404, 60),
    ("INSERT INTO no_such_table FROM INFILE '/etc/passwd' FORMAT TSV", 500, 1),
    ("SELECT count() FROM system.numbers SETTINGS max_execution_time = 0.3", 408, 159),
]


@pytest.mark.parametrize(("sql", "status", "code"), ERRORS)
def test_errors_are_clickhouses_own(server: Running, sql: str, status: int, code: int) -> None:
    for waits in ("0", "1"):
        answer = server.ask(sql, wait_end_of_query=waits)
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
        assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
        assert answer.text.count("DB::Exception") == 1


def test_codes_bear_the_engines_names(server: Running) -> None:
    for code, name in NAMES.items():
        assert server.ask(f"SELECT errorCodeToName(toInt32({code}))").text == f"{name}\n"


def test_client_raises_with_the_code(server: Running) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as raised:
        server.client().query("SELECT * FROM no_such_table")
    assert raised.value.code == 60


def test_get_is_read_only(server: Running, table: str) -> None:
    assert httpx.get(server.url, params={"query": "SELECT 1"}).text == "1\n"
    for sql in (f"DROP TABLE {table}", f"INSERT INTO {table} VALUES (1, 'x')"):
        answer = httpx.get(server.url, params={"query": sql})
        assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


def test_probes(server: Running) -> None:
    assert httpx.get(server.url).text == "Ok.\n"
    assert httpx.get(f"{server.url}/ping").text == "Ok.\n"
    assert httpx.get(f"{server.url}/replicas_status").text == "Ok.\n"
    assert server.client().ping()


def test_large_result_streams_in_bounded_memory(server: Running) -> None:
    process = psutil.Process(server.process.pid)
    before, peak, size = process.memory_info().rss, 0, 0
    sql = "SELECT number, toString(cityHash64(number)), randomPrintableASCII(80) FROM numbers(10000000) FORMAT TSV"
    with httpx.stream("POST", server.url, content=sql, timeout=60, headers={"Accept-Encoding": ""}) as answer:
        for piece in answer.iter_raw():
            size += len(piece)
            peak = max(peak, process.memory_info().rss)
    assert size > 1 << 30
    assert peak - before < 400 << 20


def test_result_that_cannot_stream_is_bounded(server: Running) -> None:
    answer = server.ask("SELECT randomPrintableASCII(1000) FROM numbers(1000000) FORMAT JSON")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "396"


def test_error_in_the_midst_of_a_result_is_no_success(server: Running) -> None:
    sql = (
        "SELECT randomPrintableASCII(1000), throwIf(number = 19000) FROM numbers(20000) "
        "SETTINGS max_threads = 1, max_block_size = 1000"
    )
    with pytest.raises(httpx.RemoteProtocolError):
        server.ask(sql)
    with httpx.stream("POST", server.url, content=sql) as answer:
        tag, held = answer.headers["X-ClickHouse-Exception-Tag"].encode(), b""
        with pytest.raises(httpx.RemoteProtocolError):
            for piece in answer.iter_bytes():
                held = held[-4096:] + piece
    assert b"\r\n__exception__\r\n" + tag + b"\r\nCode: 395." in held
    with pytest.raises(Exception, match="throwIf"), server.client().query_rows_stream(sql) as stream:
        for _ in stream:
            pass
    assert server.ask(sql, wait_end_of_query="1").headers["X-ClickHouse-Exception-Code"] == "395"


# --- side by side ----------------------------------------------------------------------------------------------


def test_readers_and_inserts_do_not_wait_for_long_readers(server: Running, table: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        slow = [pool.submit(server.ask, "SELECT sleep(3)") for _ in range(6)]
        running = "SELECT count() FROM system.processes WHERE query LIKE '%sleep(3)'"
        eventually(lambda: server.ask(running).text == "6\n")
        began = time.monotonic()
        assert server.ask("SELECT 1").text == "1\n"
        assert server.ask(f"INSERT INTO {table} FORMAT TSV\n1\tx\n").status_code == 200
        took = time.monotonic() - began
        assert not any(one.done() for one in slow)
        assert took < 1.5
        assert [one.result().status_code for one in slow] == [200] * 6


def test_query_of_a_client_that_leaves_is_cancelled(server: Running) -> None:
    running = "SELECT count() FROM system.processes WHERE query LIKE '%abandoned%' AND query NOT LIKE '%processes%'"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.url, content="SELECT count() AS abandoned FROM system.numbers", timeout=0.5)
    eventually(lambda: server.ask(running).text == "0\n")
    with httpx.stream("POST", server.url, content="SELECT number AS abandoned FROM system.numbers") as answer:
        pieces = answer.iter_raw()
        next(pieces)
        assert server.ask(running).text == "1\n"
    eventually(lambda: server.ask(running).text == "0\n")


def test_kill_by_the_id_that_the_client_gave(server: Running) -> None:
    name = uuid.uuid4().hex
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.ask, f"SELECT count() AS n_{name} FROM system.numbers", query_id=name)
        eventually(lambda: name in server.ask("SELECT query FROM system.processes WHERE query LIKE '%AS n_%'").text)
        assert server.ask("SELECT 1", query_id=name).headers["X-ClickHouse-Exception-Code"] == "216"
        assert "waiting" in server.ask(f"KILL QUERY WHERE query_id = '{name}'").text
        assert slow.result().headers["X-ClickHouse-Exception-Code"] == "394"


def test_many_at_once_are_all_answered(server: Running, table: str) -> None:
    def one(i: int) -> bool:
        wrote = server.ask(f"INSERT INTO {table} FORMAT TSV\n{i}\tx\n").status_code == 200
        return wrote and server.ask(f"SELECT count() FROM {table} WHERE id = {i}").text == "1\n"

    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(one, range(160)))
    assert server.ask(f"SELECT count() FROM {table}").text == "160\n"


# --- durability ------------------------------------------------------------------------------------------------


def test_answered_inserts_survive_kill_9_and_their_tokens_too(start: Callable[..., Running], tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    server.ask(
        "CREATE TABLE d (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000"
    ).raise_for_status()
    answered: list[int] = []
    for life in range(3):
        busy = threading.Event()

        def insert(first: int, at: Running = server, busy: threading.Event = busy) -> None:
            for i in range(first, first + 10_000):
                try:
                    answer = at.ask(f"INSERT INTO d FORMAT TSV\n{i}\n", insert_deduplication_token=f"d-{i}")
                except httpx.HTTPError:
                    return
                if answer.status_code == 200:
                    answered.append(i)
                    if len(answered) % 25 == 24:
                        busy.set()

        writers = [threading.Thread(target=insert, args=(life * 1_000_000 + w * 100_000,)) for w in range(3)]
        for writer in writers:
            writer.start()
        assert busy.wait(30)
        server.kill()
        for writer in writers:
            writer.join()
        server = start(tmp_path / "data")
        stored = server.ask("SELECT id FROM d").text.split()
        assert set(answered) <= set(map(int, stored))
        assert len(stored) == len(set(stored))
    for i in answered[-20:] + answered[:20]:
        server.ask(f"INSERT INTO d FORMAT TSV\n{i}\n", insert_deduplication_token=f"d-{i}").raise_for_status()
    assert server.ask("SELECT count() = uniqExact(id) FROM d").text == "1\n"


def test_sigterm_ends_within_5_seconds_whatever_runs(start: Callable[..., Running], tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    server.ask("CREATE TABLE k (id UInt64) ENGINE = MergeTree ORDER BY id").raise_for_status()
    server.ask("INSERT INTO k VALUES (1)").raise_for_status()
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(server.ask, "SELECT count() FROM system.numbers") for _ in range(2)]
        eventually(lambda: server.ask("SELECT count() FROM system.processes WHERE query LIKE '%numbers'").text == "2\n")
        assert server.stop() < 5
        assert server.process.returncode == 0
        for one in slow:
            assert one.exception() is not None or one.result().status_code != 200
    assert start(tmp_path / "data").ask("SELECT count() FROM k").text == "1\n"


def test_second_server_on_the_same_path_says_who_has_it(start: Callable[..., Running], tmp_path: Path) -> None:
    first = start(tmp_path / "data")
    with pytest.raises(RuntimeError, match=f"in use by another server .pid {first.process.pid}.*--path"):
        start(tmp_path / "data")
    assert first.ask("SELECT 1").text == "1\n"


def test_spool_is_emptied_at_start(start: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "data" / "spool").mkdir(parents=True)
    left = tmp_path / "data" / "spool" / "left by a crash"
    left.write_bytes(b"x")
    start(tmp_path / "data")
    assert not left.exists()


def test_data_directory_is_private(start: Callable[..., Running], tmp_path: Path) -> None:
    start(tmp_path / "data")
    assert os.stat(tmp_path / "data").st_mode & 0o077 == 0


def test_sigint_ends_it_too(start: Callable[..., Running], tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(5) == 0
