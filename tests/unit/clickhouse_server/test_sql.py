"""Where an INSERT's data begin, which FORMAT is asked for, and what kind of statement it is."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.local.clickhouse_server import sql
from streams.local.clickhouse_server.errors import NOT_IMPLEMENTED, UNSUPPORTED_METHOD, EngineError


@pytest.mark.parametrize(
    ("text", "head", "form", "data"),
    [
        (b"INSERT INTO t FORMAT TSV\n1\t2\n", b"INSERT INTO t ", "TSV", b"1\t2\n"),
        (b"INSERT INTO t FORMAT TSV 1\t2\n", b"INSERT INTO t ", "TSV", b"1\t2\n"),
        (b"INSERT INTO t FORMAT TSV\r\n1", b"INSERT INTO t ", "TSV", b"1"),
        (b"INSERT INTO t FORMAT Native\n\n\x01", b"INSERT INTO t ", "Native", b"\n\x01"),
        (b"INSERT INTO t FORMAT Native", b"INSERT INTO t ", "Native", b""),
        (b"insert into t(a, b) values (1, 2)", b"insert into t(a, b) ", "Values", b" (1, 2)"),
        (b"INSERT INTO d.t (`format`, \"values\") FORMAT CSV\n1", None, "CSV", b"1"),
        (b"INSERT INTO d.values VALUES (1)", b"INSERT INTO d.values ", "Values", b" (1)"),
        (b"INSERT INTO values FORMAT CSV\n1", b"INSERT INTO values ", "CSV", b"1"),
        (b"INSERT INTO TABLE t SETTINGS a = 'FORMAT x' FORMAT CSV\n1", None, "CSV", b"1"),
        (b"INSERT INTO FUNCTION file('x', 'TSV', 'a Int8') FORMAT CSV\n1", None, "CSV", b"1"),
        (b"/* FORMAT a */ INSERT -- VALUES\nINTO t # FORMAT b\nFORMAT CSV\n1", None, "CSV", b"1"),
        (b"INSERT INTO t (a, watch, with) VALUES (1)", None, "Values", b" (1)"),
        (b"INSERT INTO t (a)", b"INSERT INTO t (a)", None, b""),
    ],
)
def test_data_of_an_insert(text: bytes, head: bytes | None, form: str | None, data: bytes) -> None:
    found = sql.insert(text)
    assert found is not None
    assert (found.format, text[found.data :]) == (form, data)
    assert head is None or found.head == head
    assert text.startswith(found.head)


@pytest.mark.parametrize("statement", [b"INSERT INTO t FORMAT Native\n", b"INSERT INTO t VALUES "])
def test_data_are_not_cut_into_tokens(statement: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    tokens = sql.tokens

    def counted(text: bytes) -> Iterator[sql.Token]:
        for token in tokens(text):
            taken.append(token)
            yield token

    monkeypatch.setattr(sql, "tokens", counted)
    found = sql.insert(statement + b"(\x01'a\xff" * 20_000)
    assert found is not None and found.data <= len(statement)
    assert len(taken) < 10


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t (a) WITH 1 AS x SELECT x",
        b"INSERT INTO t (SELECT 1)",
        b"INSERT INTO t (a) (SELECT 1) SETTINGS max_threads = 1",
        b"INSERT INTO t SELECT 'FORMAT', input FROM x",
    ],
)
def test_insert_without_data(text: bytes) -> None:
    assert sql.insert(text) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", UNSUPPORTED_METHOD),
        (b"INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1", NOT_IMPLEMENTED),
        (b"INSERT INTO t (a) SELECT a FROM (SELECT * FROM INPUT ('a Int8')) FORMAT CSV\n1", NOT_IMPLEMENTED),
    ],
)
def test_insert_that_the_engine_would_get_wrong_is_refused(text: bytes, code: int) -> None:
    with pytest.raises(EngineError) as raised:
        sql.insert(text)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format JSON ; ", "JSON"),
        (b"SELECT 1 FORMAT JSON -- FORMAT CSV", "JSON"),
        (b"SELECT 1\nFORMAT JSON SETTINGS max_threads = 1", "JSON"),
        (b"SELECT 1 SETTINGS max_threads = 1 FORMAT JSON", "JSON"),
        (b"SELECT format FROM t", None),
        (b"SELECT 1 AS format", None),
        (b"SELECT a.format FROM t", None),
        (b"SELECT 'FORMAT JSON'", None),
        (b"SELECT $$ FORMAT JSON$$", None),
        (b"SELECT * FROM (SELECT 1 FORMAT JSON)", None),
        (b"SELECT format('{}', 1)", None),
        (b"SHOW TABLES FORMAT TSV", "TSV"),
        (b"", None),
    ],
)
def test_format_of_a_statement(text: bytes, form: str | None) -> None:
    assert sql.statement(text).format == form


def test_kind_of_a_statement() -> None:
    assert sql.statement(b" -- c\n /* d */ select 1").keyword == "SELECT"
    assert sql.statement(b"((select 1))").keyword == "("
    assert sql.statement(b" ; ").keyword == sql.statement(b"-- only a comment").keyword == ""
    assert sql.statement(b"SELECT 1; SELECT 2").several
    assert sql.statement(b"SELECT ';'; -- ;\n ;").several is False
    assert sql.statement(b"SELECT 1 INTO /* c */ OUTFILE 'x'").outfile
    assert not sql.statement(b"SELECT 'INTO OUTFILE'").outfile
    assert sql.statement(b"SELECT 1 GROUP BY 1 WITH TOTALS").totals


@given(st.binary(max_size=200))
def test_any_bytes_have_tokens_in_order(text: bytes) -> None:
    end = 0
    for token in sql.tokens(text):
        assert end <= token.start < token.end <= len(text)
        assert text[token.start : token.end] == token.text
        end = token.end
    sql.statement(text)


@given(st.text(max_size=50))
def test_a_quoted_text_is_one_token(text: str) -> None:
    for quoted, kind in ((sql.quote(text), "text"), (sql.identifier(text), "quoted")):
        assert [token.kind for token in sql.tokens(quoted)] == [kind]
