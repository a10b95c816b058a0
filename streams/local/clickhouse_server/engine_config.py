"""The engine's own configuration: its users file and its limits, written into the data directory at each start."""

from pathlib import Path
from typing import Final

# chdb always acts as the user "default". What a request may do is bounded by the role that its connection has
# taken on: both roles are granted here, and a reader's connection gives up all but "analyst". That role has
# neither CREATE TEMPORARY TABLE nor SOURCES: so no file(), url(), remote(), s3() and their like.
# implicit_select: a server refuses an expression without SELECT, the library takes it by default.
# min_insert_block_size: how much a mutation gathers while it makes a projection anew. With ClickHouse's million rows
# that took 1.6 to 3 GB of memory for a table of 10 million, and no less time. The sink sets its own.
_USERS: Final = """\
<clickhouse>
  <roles>
    <admin>
      <grants><query>GRANT ALL ON *.* WITH GRANT OPTION</query></grants>
    </admin>
    <analyst>
      <grants><query>GRANT SELECT, SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, SHOW DICTIONARIES ON *.*</query></grants>
    </analyst>
  </roles>
  <profiles>
    <default>
      <implicit_select>0</implicit_select>
      <min_insert_block_size_rows>65536</min_insert_block_size_rows>
      <min_insert_block_size_bytes>16777216</min_insert_block_size_bytes>
    </default>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants><query>GRANT admin</query><query>GRANT analyst</query></grants>
    </default>
  </users>
</clickhouse>
"""

# merge_selector_base: how many times the largest of them the parts of a merge must amount to. ClickHouse's own 5
# is for a machine with cores to spare: a chunk a second was rewritten 25 times within minutes, at more than its
# insert had cost. A table has some 20 parts by that instead of 10.
_MAIN: Final = """\
<clickhouse>
  <users_config>{users}</users_config>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>134217728</mark_cache_size>
  <merge_tree>
    <merge_selector_base>16</merge_selector_base>
    <fsync_after_insert>{fsync}</fsync_after_insert>
    <fsync_part_directory>{fsync}</fsync_part_directory>
  </merge_tree>
</clickhouse>
"""


def write(folder: Path, *, max_memory_bytes: int, fsync: bool) -> Path:
    """Write the files into `folder` and return the main one, which the engine is opened with."""
    folder.mkdir(exist_ok=True, mode=0o700)
    users = folder / "users.xml"
    users.write_text(_USERS, "utf-8")
    main = folder / "config.xml"
    escaped = str(users).replace("&", "&amp;").replace("<", "&lt;")
    main.write_text(_MAIN.format(users=escaped, memory=max_memory_bytes, fsync=int(fsync)), "utf-8")
    return main
