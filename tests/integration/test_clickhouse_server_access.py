"""What the read-only user of the embedded ClickHouse can't do, and what both users need to get in."""

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.integration.clickhouse_process import ADMIN_PASSWORD, ANALYST_PASSWORD, Running

ADMIN, ANALYST = ("default", ADMIN_PASSWORD), ("analyst", ANALYST_PASSWORD)
SECRET = "not for readers"


@dataclass
class Place:
    """A server with both passwords, a table `notes` of one row, and files that must stay unread and unwritten."""

    server: Running
    secret: Path
    target: Path

    def ask(self, sql: str | bytes, who: tuple[str, str] = ANALYST, **parameters: str) -> httpx.Response:
        return self.server.http.post(self.server.url, content=sql, params=parameters, auth=who)

    def fill(self, text: str) -> str:
        return text.format(secret=self.secret, target=self.target, port=self.server.port, password=ADMIN_PASSWORD)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("access")
    (home / "admin").write_text(ADMIN_PASSWORD + "\n")
    (home / "analyst").write_text(ANALYST_PASSWORD)
    (home / "secret").write_text(SECRET)
    options = ["--admin-password-file", str(home / "admin"), "--readonly-password-file", str(home / "analyst")]
    server = Running(home / "data", *options)
    place = Place(server, home / "secret", home / "target")
    for sql in (
        "CREATE TABLE notes (id UInt64, note String) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO notes VALUES (1, 'hello')",
        f"CREATE TABLE readable (line String) ENGINE = File(LineAsString, '{home / 'secret'}')",
    ):
        place.ask(sql, ADMIN).raise_for_status()
    yield place
    server.kill()


# --- getting in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [ADMIN, ANALYST])
def test_each_way_to_log_in(place: Place, who: tuple[str, str]) -> None:
    user, password = who
    url = place.server.url
    answers = [
        httpx.post(url, content="SELECT 1", auth=who),
        httpx.post(url, content="SELECT 1", headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password}),
        httpx.post(url, content="SELECT 1", params={"user": user, "password": password}),
    ]
    assert [answer.text for answer in answers] == ["1\n"] * 3


@pytest.mark.parametrize(
    "who",
    [
        ("default", ""),
        ("default", ANALYST_PASSWORD),
        ("analyst", ""),
        ("analyst", ADMIN_PASSWORD),
        ("root", ""),
        ("", ""),
        ("default", ADMIN_PASSWORD + "x"),
        ("default\0", ADMIN_PASSWORD),
    ],
)
def test_wrong_credentials_are_403(place: Place, who: tuple[str, str]) -> None:
    answer = place.ask("SELECT 1", who)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert ADMIN_PASSWORD not in answer.text


def test_no_credentials_and_unknown_schemes_are_403(place: Place) -> None:
    claims = {"Authorization": "Bearer x"}, {"Authorization": "Basic !!"}, {"X-ClickHouse-User": "analyst"}
    for headers in ({}, *claims):
        answer = httpx.post(place.server.url, content="SELECT 1", headers=headers)
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516")


def test_client_of_the_reader(place: Place) -> None:
    client = place.server.client(*ANALYST)
    assert client.query("SELECT * FROM notes").result_rows == [(1, "hello")]
    parameters = {"id": 1}
    assert client.query("SELECT note FROM notes WHERE id = {id:UInt64}", parameters=parameters).result_rows
    assert client.query("SELECT 1", settings={"max_threads": 1}).result_rows == [(1,)]
    assert client.query_df("SELECT * FROM notes").shape == (1, 2)


FROM_PAGES = [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example:8123"}]


@pytest.mark.parametrize("header", FROM_PAGES)
def test_pages_in_a_browser_are_not_served(place: Place, header: dict[str, str]) -> None:
    answer = httpx.post(place.server.url, content="SELECT 1", headers=header, auth=ADMIN)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "497")


# --- what readers may do ---------------------------------------------------------------------------------------

ALLOWED = [
    "SELECT count() FROM notes",
    "(SELECT 1)",
    "WITH x AS (SELECT id FROM notes) SELECT * FROM x",
    "FROM notes SELECT id",
    "-- a comment\nSELECT 1 /* another */;",
    "SELECT 'INSERT INTO x; DROP TABLE notes' AS outfile",
    "SELECT number FROM numbers(3)",
    "SELECT * FROM merge('default', 'notes')",
    "SELECT * FROM values('a UInt8', 1, 2)",
    "SELECT * FROM view(SELECT 1)",
    "SELECT name FROM system.tables",
    "SELECT id FROM notes SETTINGS max_threads = 1 FORMAT JSON",
    "SELECT id FROM notes FORMAT JSON SETTINGS output_format_json_quote_64bit_integers = 1",
    "SELECT arrayMap(x -> upper(x), ['a']), * APPLY(toString) FROM notes",
    "SELECT sum(id) OVER (PARTITION BY note ORDER BY id) FROM notes",
    "SHOW TABLES",
    "SHOW CREATE TABLE notes",
    "SHOW COLUMNS FROM notes",
    "SHOW DATABASES",
    "DESCRIBE TABLE notes",
    "DESC notes",
    "DESCRIBE (SELECT id + 1 AS more FROM notes)",
    "EXISTS TABLE notes",
    "EXPLAIN SELECT * FROM notes",
    "EXPLAIN PLAN actions = 1 SELECT * FROM notes",
    "EXPLAIN SYNTAX SELECT 1",
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_reader_may(place: Place, sql: str) -> None:
    answer = place.ask(sql)
    assert answer.status_code == 200, answer.text


def test_reader_gets_the_errors_of_a_broken_query(place: Place) -> None:
    for sql, status, code in (("SELEKT 1", 400, "62"), ("SELECT * FROM nope", 404, "60"), ("SELECT nope", 404, "47")):
        answer = place.ask(sql)
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (status, code)


# --- what readers may not do -----------------------------------------------------------------------------------

ATTACKS = [
    # to write, in ClickHouse
    "INSERT INTO notes VALUES (2, 'x')",
    "INSERT INTO notes FORMAT TSV\n2\tx\n",
    "INSERT INTO notes SELECT 2, 'x'",
    "WITH x AS (SELECT 2 AS id, 'x' AS note) INSERT INTO notes SELECT * FROM x",
    "/* SELECT */ INSERT INTO notes VALUES (2, 'x')",
    "SELECT 1; INSERT INTO notes VALUES (2, 'x')",
    "SELECT 1;\n-- c\nDROP TABLE notes",
    "SELECT 1 FORMAT TSV; DROP TABLE notes",
    "SELECT 1 PARALLEL WITH DROP TABLE notes",
    "CREATE TABLE mine (a UInt8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE mine (a UInt8)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE DATABASE mine",
    "CREATE FUNCTION mine AS x -> x",
    "CREATE USER mine",
    "CREATE NAMED COLLECTION mine AS a = 1",
    "GRANT ALL ON *.* TO default",
    "DROP TABLE notes",
    "TRUNCATE TABLE notes",
    "ALTER TABLE notes DELETE WHERE 1",
    "DELETE FROM notes WHERE 1",
    "UPDATE notes SET note = 'x' WHERE 1",
    "OPTIMIZE TABLE notes",
    "RENAME TABLE notes TO others",
    "DETACH TABLE notes",
    "UNDROP TABLE notes",
    "EXCHANGE TABLES notes AND readable",
    "BACKUP TABLE notes TO File('{target}')",
    "RESTORE TABLE notes FROM File('{target}')",
    # to disturb
    "KILL QUERY WHERE 1",
    "KILL QUERY WHERE query_id = 'x'",
    "SYSTEM SHUTDOWN",
    "SYSTEM STOP MERGES",
    "SYSTEM FLUSH LOGS",
    # to get out of the role
    "SET ROLE admin",
    "SET ROLE ALL",
    "SET readonly = 0",
    "SET max_threads = 1",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1; SET ROLE admin; SELECT file('{secret}')",
    "SELECT 1 PARALLEL WITH SET ROLE admin",
    "EXECUTE AS default SELECT 1",
    "USE system",
    "BEGIN TRANSACTION",
    "SELECT 1\0; INSERT INTO notes VALUES (2, 'x')",
    "SELECT 1\0 INTO OUTFILE '{target}'",
    "SELECT " + "-(" * 300 + "length(file('{secret}'))" + ")" * 300,
    # to write files
    "SELECT 1 INTO OUTFILE '{target}'",
    "SELECT 1 INTO/**/OUTFILE '{target}' FORMAT TSV",
    "SELECT 1 INTO\nOUTFILE '{target}' TRUNCATE",
    "SELECT 1 UNION ALL SELECT 2 INTO OUTFILE '{target}' AND STDOUT",
    "SHOW TABLES INTO OUTFILE '{target}'",
    "EXPLAIN SELECT 1 INTO OUTFILE '{target}'",
    "DESCRIBE notes INTO OUTFILE '{target}'",
    "EXISTS TABLE notes INTO OUTFILE '{target}'",
    "INSERT INTO FUNCTION file('{target}', 'TSV', 'a UInt8') VALUES (1)",
    # to read files by functions
    "SELECT file('{secret}')",
    "SELECT `file`('{secret}')",
    'SELECT "file"(\'{secret}\')',
    "SELECT `f\\x69le`('{secret}')",
    "SELECT file/**/('{secret}')",
    "SELECT arrayMap(x -> file(x), ['{secret}'])",
    "SELECT arrayMap(file, ['{secret}'])",
    "SELECT * APPLY(file) FROM (SELECT '{secret}')",
    "SELECT * APPLY file FROM (SELECT '{secret}')",
    "SELECT * APPLY(x -> file(x)) FROM (SELECT '{secret}')",
    "SELECT COLUMNS('.*') APPLY(file) FROM (SELECT '{secret}')",
    "SELECT * REPLACE(file(line) AS line) FROM (SELECT '{secret}' AS line)",
    "SELECT 1 WHERE file('{secret}') LIKE 'n%'",
    "SELECT 1 LIMIT length(file('{secret}'))",
    "SELECT number FROM numbers(length(file('{secret}')))",
    "SELECT 1 IN (SELECT file('{secret}'))",
    "SELECT sum(1) OVER (PARTITION BY file('{secret}'))",
    "SELECT sum(1) OVER w FROM notes WINDOW w AS (PARTITION BY file('{secret}'))",
    "SELECT 1 ORDER BY file('{secret}')",
    "SELECT id FROM notes ORDER BY id WITH FILL TO length(file('{secret}'))",
    "SELECT id, 1 AS x FROM notes ORDER BY id WITH FILL INTERPOLATE (x AS length(file('{secret}')))",
    "SELECT id FROM notes GROUP BY GROUPING SETS ((id, file('{secret}')), (id))",
    "SELECT id FROM notes ARRAY JOIN [file('{secret}')] AS f",
    "SELECT id FROM notes AS a JOIN notes AS b ON a.id = length(file('{secret}'))",
    "SELECT DISTINCT ON (file('{secret}')) id FROM notes",
    "SELECT id FROM notes QUALIFY file('{secret}') != ''",
    "SELECT id FROM notes LIMIT 1 BY file('{secret}')",
    "WITH file('{secret}') AS f SELECT f",
    "WITH (SELECT file('{secret}')) AS f SELECT f",
    "WITH RECURSIVE r AS (SELECT file('{secret}') AS f UNION ALL SELECT f FROM r WHERE 0) SELECT f FROM r",
    "SELECT * FROM view(SELECT file('{secret}'))",
    "SELECT * FROM values('a String', file('{secret}'))",
    "SELECT CAST(file('{secret}') AS UInt8)",
    "EXPLAIN SELECT file('{secret}')",
    "EXPLAIN SELECT * FROM file('{secret}')",
    "DESCRIBE (SELECT CAST(file('{secret}') AS UInt8))",
    "DESCRIBE TABLE file('{secret}', 'LineAsString')",
    "/**/DESCRIBE (SELECT CAST(file('{secret}') AS UInt8))",
    "SHOW TABLES WHERE file('{secret}') != ''",
    "SHOW COLUMNS FROM notes WHERE file('{secret}') != ''",
    "SELECT * FROM eval('SELECT file(\\'{secret}\\')')",
    "SELECT * FROM eval(concat('SELECT fi', 'le(\\'{secret}\\')')) SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT formatRow('Template', file('{secret}'))",
    # to read files by tables
    "SELECT * FROM file('{secret}', 'LineAsString')",
    "SELECT * FROM FILE('{secret}', 'LineAsString', 'line String')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM `{secret}`",
    "SELECT * FROM default.`{secret}`",
    "SELECT * FROM merge(file('{secret}'))",
    "SELECT * FROM fileCluster('default', '{secret}')",
    "SELECT * FROM loop(file('{secret}', 'LineAsString'))",
    "SELECT * FROM sqlite('{secret}', 'x')",
    "SELECT * FROM icebergLocal('{secret}')",
    "SELECT * FROM deltaLakeLocal('{secret}')",
    "SELECT * FROM executable('cat', 'TSV', 'a String')",
    "SELECT * FROM Python(reader)",
    "SELECT 1 IN file('{secret}', 'LineAsString')",
    # to read files by settings
    "SELECT 1 AS a FORMAT Template SETTINGS format_template_resultset = '{secret}'",
    "SELECT 1 AS a FORMAT Template SETTINGS format_template_row = '{secret}'",
    "SELECT 1 SETTINGS format_template_row = '{secret}' FORMAT Template",
    "SHOW CREATE TABLE notes FORMAT Template SETTINGS format_template_resultset = '{secret}'",
    "SHOW TABLES FORMAT Template SETTINGS format_template_resultset = '{secret}'",
    "EXISTS TABLE notes FORMAT Template SETTINGS format_template_resultset = '{secret}'",
    "SELECT 1 AS a FORMAT Protobuf SETTINGS format_schema = '{secret}:M'",
    "SELECT 1 FORMAT CapnProto SETTINGS format_schema = '{secret}:M'",
    "SELECT * FROM notes SETTINGS additional_result_filter = 'file(\\'{secret}\\') != \\'\\''",
    "SELECT * FROM notes SETTINGS additional_table_filters = {{'notes': 'file(\\'{secret}\\') != \\'\\''}}",
    "SELECT * FROM (SELECT 1 SETTINGS additional_result_filter = 'file(\\'{secret}\\') != \\'\\'')",
    "SELECT 1 AS a FORMAT Protobuf SETTINGS output_format_schema = '{target}'",
    "SELECT 1 AS a FORMAT CapnProto SETTINGS output_format_schema = 'file://{target}'",
    "SELECT 1 SETTINGS dialect = 'prql'",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    # to reach the network
    "SELECT * FROM url('http://127.0.0.1:{port}/ping', 'LineAsString', 'a String')",
    "SELECT * FROM url('http://127.0.0.1:{port}/?user=default&password={password}', 'RawBLOB')",
    "SELECT * FROM remote('127.0.0.1:{port}', 'default', 'notes')",
    "SELECT * FROM remoteSecure('127.0.0.1', 'default', 'notes')",
    "SELECT * FROM s3('http://127.0.0.1:{port}/bucket/key', 'CSV', 'a String')",
    "SELECT * FROM s3('http://bucket.127.0.0.1:{port}/key', NOSIGN, 'CSV', 'a String')",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('127.0.0.1:{port}', 'a', 'b', 'c', 'd', 'a String')",
    "SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String')",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM clusterAllReplicas('default', view(SELECT 1))",
    "SELECT aiGenerate('x')",
    # to look at other users
    "SELECT * FROM system.users",
    "SHOW USERS",
    "SHOW ACCESS",
    "SHOW CREATE USER default",
    "SELECT * FROM system.named_collections, system.users",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_reader_may_not(place: Place, attack: str) -> None:
    for parameters in ({}, {"wait_end_of_query": "1"}, {"session_id": uuid.uuid4().hex}):
        answer = place.ask(place.fill(attack), ANALYST, **parameters)
        assert answer.status_code >= 400, answer.text
        assert "X-ClickHouse-Exception-Code" in answer.headers
        assert SECRET not in answer.text
    assert not place.target.exists()
    assert place.ask("SELECT * FROM notes").text == "1\thello\n"


PARAMETERS = [
    ("SELECT * FROM {t:Identifier}", {"param_t": "{secret}"}),
    ("SELECT * FROM {d:Identifier}.{t:Identifier}", {"param_d": "default", "param_t": "{secret}"}),
    ("SELECT {f:Identifier}('{{secret}}')", {"param_f": "file"}),
    ("SELECT 1 AS a FORMAT Template", {"format_template_resultset": "{secret}"}),
    ("SELECT 1 AS a FORMAT Protobuf", {"format_schema": "{secret}:M"}),
    ("SELECT 1 AS a FORMAT Protobuf", {"output_format_schema": "{target}"}),
    ("SELECT * FROM notes", {"additional_result_filter": "file('{secret}') != ''"}),
    ("SELECT 1", {"readonly": "0"}),
    ("SELECT 1", {"dialect": "prql"}),
    ("SELECT 1", {"role": "admin"}),
    ("SELECT 1", {"max_memory_usage": "0"}),
    ("SELECT 1", {"log_comment = 'x', readonly": "0"}),
    ("SELECT 1", {"database": "default`; SET ROLE admin; --"}),
    ("", {"query": "INSERT INTO notes VALUES (2, 'x')"}),
    ("2\tx\n", {"query": "INSERT INTO notes FORMAT TSV"}),
    ("INTO OUTFILE '{target}'", {"query": "SELECT 1"}),
    ("file('{secret}')", {"query": "SELECT"}),
    ("SELECT 1", {"default_format": "Template", "format_template_resultset": "{secret}"}),
    ("SELECT 1", {"param_x = 1, readonly": "0"}),
]


@pytest.mark.parametrize(("sql", "parameters"), PARAMETERS)
def test_reader_may_not_by_parameters(place: Place, sql: str, parameters: dict[str, str]) -> None:
    filled = {name: place.fill(value) for name, value in parameters.items()}
    sql = sql.replace("{secret}", str(place.secret)).replace("{target}", str(place.target))
    answer = place.ask(sql, ANALYST, **filled)
    assert answer.status_code >= 400, answer.text
    assert SECRET not in answer.text
    assert not place.target.exists()
    assert place.ask("SELECT * FROM notes").text == "1\thello\n"


def test_reader_may_not_by_external_tables(place: Place) -> None:
    for name, structure, form in (
        ("ext", f"a String) ENGINE = File(CSV, '{place.target}'", "TSV"),
        ("ext", f"a String DEFAULT file('{place.secret}')", "TSV"),
        (f"ext (a String) ENGINE = File(CSV, '{place.target}') --", "a String", "TSV"),
        ("ext", f"a String MATERIALIZED file('{place.secret}'), b String", "TSV"),
        ("ext", f"a String ALIAS file('{place.secret}'), b String", "TSV"),
        ("ext", f"b String, CONSTRAINT c CHECK file('{place.secret}') = ''", "TSV"),
    ):
        answer = httpx.post(
            place.server.url,
            params={f"{name}_structure": structure, f"{name}_format": form, "query": "SELECT *, a FROM ext"},
            files={name: (name, b"1\n")},
            auth=ANALYST,
        )
        assert answer.status_code >= 400, answer.text
        assert SECRET not in answer.text
        assert not place.target.exists()


def test_reader_makes_no_connection(place: Place) -> None:
    """No attack may even connect: an own listener counts."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    came.append(listener.accept())
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        for attack in ATTACKS:
            if "{port}" in attack:
                place.ask(attack.replace("{port}", str(port)).replace("{password}", "x"))
        assert came == []
        patience = {"http_max_tries": "1", "http_receive_timeout": "1"}
        place.ask(f"SELECT * FROM url('http://127.0.0.1:{port}/', 'RawBLOB')", ADMIN, **patience)
        assert came != []  # the listener works: the admin, who may, reaches it
        listener.shutdown(socket.SHUT_RDWR)


def test_admin_may_not_write_files_by_outfile(place: Place) -> None:
    answer = place.ask(f"SELECT 1 INTO OUTFILE '{place.target}'", ADMIN)
    assert answer.headers["X-ClickHouse-Exception-Code"] == "358"
    assert not place.target.exists()


def test_readers_do_not_keep_the_admin_waiting(place: Place) -> None:
    done: list[httpx.Response] = []
    readers = [
        threading.Thread(target=lambda: done.append(place.ask("SELECT sleep(1.5)"))) for _ in range(12)
    ]  # more than there are lanes for readers
    for reader in readers:
        reader.start()
    assert place.ask("SELECT 1", ADMIN).text == "1\n"
    assert place.ask("INSERT INTO FUNCTION null('a UInt8') VALUES (1)", ADMIN).status_code == 200
    assert not done
    for reader in readers:
        reader.join()
    assert {answer.status_code for answer in done} == {200}


def test_password_file_problems_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for name, why in (("missing", "Can't read"), ("empty", "is empty")):
        with pytest.raises(RuntimeError, match=why):
            Running(tmp_path / "data", "--admin-password-file", str(tmp_path / name))


def test_passwords_are_in_no_file_of_the_server(place: Place) -> None:
    held = (place.secret.parent / "data").rglob("*")
    assert not [path for path in held if path.is_file() and os.access(path, os.R_OK) and _holds(path)]


def _holds(path: Path) -> bool:
    content = path.read_bytes()
    return ADMIN_PASSWORD.encode() in content or ANALYST_PASSWORD.encode() in content


