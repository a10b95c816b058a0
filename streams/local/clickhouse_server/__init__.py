"""Embedded ClickHouse behind its own HTTP protocol.

One process owns a data directory with chdb (ClickHouse's engine as a library) and answers on loopback as a
ClickHouse server does, so that sinks, tests, analysts and any ClickHouse client use one code path for the
embedded engine and for a server. Run it with

    python -m streams.local.clickhouse_server --path DIR --port PORT

A request goes through `request` (who asks, and for what), `sql` (what kind of statement it is), `access` (may
this user run it), `lanes` (a thread for it), `engine` (chdb) and `replies` (the answer on the wire); `server`
holds them together. Statements of one request share a connection that ends with the request, unless a session
has state to keep (`sessions`).
"""
