"""What the read-only user may run: to read the database, and nothing of the machine it runs on.

Four fences, each of which holds by itself against most attacks:

1. The engine's own parser must see one statement, and one that only reads (no INTO OUTFILE, SET, KILL, ...).
2. The engine runs it in the role `analyst`, which has SELECT and SHOW but no table function that reaches out.
3. The engine's syntax tree of it must name no function that reaches out without asking for a right (file()
   reads any file; a library's engine doesn't confine it as a server's does) and no setting but harmless ones
   (format_template_row, format_schema and output_format_schema name files; additional_result_filter is SQL).
4. The connection is in readonly mode, and is closed with the request.

The tree comes from parseQueryToJSON. A statement that has no such tree passes only if it has no bracket,
hence no call, and then may change no setting at all.
"""

import json
import re
from typing import Any, Final

from streams.local.clickhouse_server import errors, sql
from streams.local.clickhouse_server.engine import ANALYST_ROLE, Connection


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TABLE_FUNCTIONS: Final = _words(
    """numbers numbers_mt generateseries generate_series generaterandom values sqlstandardvalues null primes
    merge view viewifpermitted mergetreeindex mergetreeprojection"""
)

# Functions that read a file or a certificate, write to the engine's log or count in its keeper.
_FUNCTIONS: Final = _words("file showcertificate logtrace generateserialid catboostevaluate")
_SERVICES: Final = re.compile(r"ai[A-Z]\w*")  # aiGenerate and its like call a service

_SETTINGS: Final = _words(
    """max_threads max_block_size max_execution_time max_rows_to_read max_bytes_to_read max_result_rows
    result_overflow_mode read_overflow_mode timeout_overflow_mode max_rows_to_group_by
    group_by_overflow_mode priority extremes limit offset final
    join_use_nulls join_algorithm joined_subquery_requires_alias any_join_distinct_right_table_keys
    group_by_use_nulls aggregate_functions_null_for_empty transform_null_in union_default_mode
    prefer_column_name_to_alias use_query_cache max_query_size max_ast_depth optimize_read_in_order
    date_time_input_format date_time_output_format session_timezone cast_string_to_dynamic_use_inference
    enable_http_compression http_zlib_compression_level send_progress_in_http_headers
    http_headers_progress_interval_ms cancel_http_readonly_queries_on_client_close http_wait_end_of_query
    http_make_head_request connect_timeout receive_timeout send_timeout log_queries log_comment
    format_csv_delimiter format_csv_null_representation format_tsv_null_representation
    log_query_threads"""
)
# By family, as output_format_schema writes a file.
_SETTING_FAMILIES: Final = tuple(
    f"output_format_{family}_"
    for family in ("json", "csv", "tsv", "pretty", "native", "binary", "arrow", "parquet", "decimal", "write")
)
_EXPLAIN_OPTIONS: Final = _words(
    """actions header indexes projections json description graph compact optimize run_passes dump_passes dump_ast
    dump_tree passes oneline keep_logical_steps pretty distributed sorting estimates run_query_tree_passes
    query_tree_passes single_query input_headers column_structure"""
)

DEFAULTS: Final = {"max_execution_time": "300", "max_memory_usage": str(2 << 30)}
"""Bounds of a reader's query; the first may be changed by a request, the second not."""

_DESCRIBE = re.compile(rb"\s*desc(?:ribe)?\s+(?:table\s+)?", re.IGNORECASE)


def check_settings(names: list[str]) -> None:
    """Raises EngineError READONLY unless a reader may set each of `names`."""
    for name in names:
        if name not in _SETTINGS and not name.startswith(_SETTING_FAMILIES):
            raise errors.EngineError(errors.READONLY, f"Cannot modify '{name}' setting in readonly mode")


def check_external(names: list[str]) -> None:
    """Raises EngineError ACCESS_DENIED if the request brings tables: their columns' defaults are expressions."""
    if names:
        raise _denied(f"this user may not bring the table {names[0]} along with a query")


def check(connection: Connection, statement: bytes) -> int:
    """The readonly mode in which a reader may run `statement`; `connection` is new and still the server's own.

    Raises EngineError: ACCESS_DENIED or READONLY, or what the engine's parser says of a broken statement.
    """
    if b"\0" in statement:
        raise errors.EngineError(errors.SYNTAX_ERROR, "Syntax error: a null byte in the statement")
    if len(statement) > sql.MAX_HEAD_BYTES:
        raise errors.EngineError(errors.SYNTAX_ERROR, "Max query size exceeded")
    if not connection.reads_only(statement):
        _raise_if_broken(connection, statement)
        raise _denied("this user may only read: one SELECT, SHOW, DESCRIBE, EXISTS or EXPLAIN in a request")
    tree = _tree(connection, statement)
    if tree is not None:
        _check_tree(tree)
        return 2
    if b"(" in statement:
        raise _denied("this user may not call functions in such a statement: use a SELECT")
    return 1


def confine(connection: Connection, readonly: int) -> None:
    """Bind `connection` to a reader's rights from here on. It must run no second statement."""
    connection.execute(b"SET ROLE " + ANALYST_ROLE.encode())
    connection.execute(b"SET readonly = %d" % readonly)


def told(error: errors.EngineError) -> errors.EngineError:
    """`error` as a reader should see it: the engine looks for an unknown table among the files, and then asks for
    a right to read files, where a server just says that there is no such table."""
    if error.code == errors.ACCESS_DENIED and "READ ON FILE" in error.message:
        return errors.EngineError(errors.UNKNOWN_TABLE, "There is no such table for this user")
    return error


def _raise_if_broken(connection: Connection, statement: bytes) -> None:
    try:
        connection.execute(b"SELECT formatQuery(%s)" % sql.quote(statement))
    except errors.EngineError as error:
        if error.code == errors.SYNTAX_ERROR and "Multi-statements" not in error.message:
            raise errors.EngineError(error.code, error.message.partition(": In scope ")[0], error.name) from None


def _tree(connection: Connection, statement: bytes) -> Any:
    """The engine's syntax tree of `statement`, None where the engine can't write it down in full."""
    described = _DESCRIBE.match(statement)
    if described is not None:  # DESCRIBE has no tree, but takes the same operand as FROM
        statement = b"SELECT * FROM " + statement[described.end() :]
    # A tree that forgot a clause would hide what stands in it: so it must give back the whole statement.
    question = (
        b"WITH %s AS q, parseQueryToJSON(q) AS tree "
        b"SELECT tree, formatQueryFromJSON(tree) = formatQuerySingleLine(q)"
    )
    try:
        answer = connection.execute(question % sql.quote(statement), "JSONCompactEachRow")
    except errors.EngineError as error:
        if error.code in (errors.BAD_ARGUMENTS, errors.SYNTAX_ERROR):
            return None
        raise
    text, complete = json.loads(answer.decode("utf-8", "replace"))
    try:
        return json.loads(text) if complete else None
    except RecursionError:
        return None


def _check_tree(tree: Any) -> None:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            _check_node(node)
            waiting.extend(node.values())


def _check_node(node: dict[str, Any]) -> None:
    # A function may be called by Function, by APPLY, and by a bare name as an argument: arrayMap(file, ...).
    for name in (node.get("name"), node.get("func_name")):
        if isinstance(name, str) and (name.lower() in _FUNCTIONS or _SERVICES.fullmatch(name)):
            raise _denied(f"the function {name} is not open to this user")
    table_function = node.get("table_function")
    if table_function is not None:
        name = table_function.get("name") if isinstance(table_function, dict) else None
        if not isinstance(name, str) or name.lower() not in _TABLE_FUNCTIONS:
            raise _denied(f"the table function {name} is not open to this user")
    if node.get("out_file") is not None:
        raise _denied("INTO OUTFILE is not open to this user")
    if node.get("type") == "ExplainQuery":
        options = node.get("settings") or {}
        options["changes"] = [o for o in options.get("changes", []) if o.get("name") not in _EXPLAIN_OPTIONS]
    if node.get("type") == "SetQuery":
        check_settings([str(change.get("name")) for change in node.get("changes", [])])
        if unknown := set(node) - {"type", "changes"}:
            raise _denied(f"this user may not use {', '.join(sorted(unknown))} in SETTINGS")


def _denied(message: str) -> errors.EngineError:
    return errors.EngineError(errors.ACCESS_DENIED, f"analyst: Not enough privileges: {message}")
