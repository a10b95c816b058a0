"""The embedded ClickHouse with more in its configuration than it ships with: users, roles, a cluster of one shard.

Run as a module it is the server: `python -m tests.integration.clickhouse_configured USERS MAIN OPTIONS...`, where
USERS and MAIN are XML that goes into the users' and the main configuration. The library takes its users from its
configuration alone and runs no CREATE USER or CREATE ROW POLICY; so rights are tested by what they come to there.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from tests.integration.clickhouse_process import Running

ONE_SHARD: Final = """
  <tcp_port>9123</tcp_port>
  <remote_servers><one><shard><replica><host>localhost</host><port>9123</port></replica></shard></one></remote_servers>
  <macros><shard>1</shard><replica>1</replica></macros>
"""
"""A cluster named `one` whose only shard is the engine itself: it opens no port and calls itself directly."""


class Configured(Running):
    """A server process with a configuration of its own."""

    def __init__(self, path: Path, users: str = "", main: str = "") -> None:
        super().__init__(path, module="tests.integration.clickhouse_configured", first=(users, main))


def user(name: str, grants: Sequence[str], filters: Mapping[tuple[str, str], str]) -> str:
    """A user of the configuration. `filters`: the condition of his row policy on a table of a database."""
    told = "".join(f"<query>{escape(grant)}</query>" for grant in grants)
    policies = "".join(
        f"<{database}><{table}><filter>{escape(condition)}</filter></{table}></{database}>"
        for (database, table), condition in filters.items()
    )
    return (
        f"<{name}><password></password><networks><ip>::/0</ip></networks><profile>default</profile>"
        f"<quota>default</quota><grants>{told}</grants><databases>{policies}</databases></{name}>"
    )


def _serve() -> None:
    from streams.local.clickhouse_server import __main__, engine_config

    users, main = sys.argv[1:3]
    del sys.argv[1:3]
    vars(engine_config)["_USERS"] = engine_config._USERS.replace("</users>", f"{users}</users>")
    vars(engine_config)["_MAIN"] = engine_config._MAIN.replace("</users_config>", f"</users_config>{main}")
    __main__.main()


if __name__ == "__main__":
    _serve()
