"""What is made of the migrations' text: comments of views, and statements for a cluster."""

import re

import pytest

from sinks.cluster import Cluster, NoVariant
from sinks.comments import Comments
from sinks.grants import Person, Readable, statements
from sinks.queries import Migration, migrations, split

NAMES = {"database": "sluice", "analytics": "analytics"}
TABLE = """CREATE TABLE IF NOT EXISTS {database}.t
(
    tenant LowCardinality(String) COMMENT 'Who; it''s a name.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC')
        DEFAULT now64(3)
        COMMENT 'When.' CODEC(Delta(8), ZSTD(1)),
    INDEX by_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
ORDER BY (tenant, at)
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'A table.'"""
VIEW = "CREATE OR REPLACE VIEW {analytics}.v SQL SECURITY INVOKER AS\nSELECT tenant FROM {database}.t"


def test_a_view_takes_over_the_comments_of_its_table_as_they_are_by_then() -> None:
    added = "ALTER TABLE {database}.t\n    ADD COLUMN IF NOT EXISTS n Nullable(UInt8) COMMENT 'How many.' AFTER at"
    changed = "ALTER TABLE {database}.t\n    COMMENT COLUMN at 'When it was.'"
    made = list(Comments().follow([TABLE, added, changed, VIEW]))
    assert made[:4] == [TABLE, added, changed, VIEW]
    assert made[4].splitlines() == [
        "ALTER TABLE {analytics}.v",
        "    COMMENT COLUMN IF EXISTS tenant 'Who; it''s a name.',",
        "    COMMENT COLUMN IF EXISTS at 'When it was.',",
        "    COMMENT COLUMN IF EXISTS n 'How many.'",
    ]


def script(*statements: str) -> list[str]:
    made = list(Cluster("c", NAMES).script([Migration(1, "0001_a.sql", "0", statements)]))
    start = next(i for i, s in enumerate(made) if "sluice.t_local" in s)
    return made[start:-1]


def test_a_table_of_tenants_is_spread_and_its_changes_go_to_both() -> None:
    added = "ALTER TABLE {database}.t\n    ADD COLUMN IF NOT EXISTS n Nullable(UInt8) COMMENT 'How many.'"
    local, spread, altered, again = script(TABLE, added)
    assert "t_local ON CLUSTER 'c'" in local
    assert "ReplicatedMergeTree('/clickhouse/tables/{shard}/sluice/t', '{replica}')" in local
    assert (
        "SETTINGS replicated_deduplication_window = 100, replicated_deduplication_window_seconds = " in local
    )
    assert spread.startswith("CREATE OR REPLACE TABLE sluice.t ON CLUSTER 'c' AS sluice.t_local")
    assert "Distributed('c', 'sluice', 't_local', cityHash64(tenant))" in spread and again == spread
    assert altered.startswith("ALTER TABLE sluice.t_local ON CLUSTER 'c'")


def test_a_view_asks_all_shards_in_its_subqueries() -> None:
    view = VIEW + " WHERE at NOT IN (SELECT at FROM {database}.t) AND tenant IN ('a')"
    made = script(TABLE, view)[-1]
    assert "at GLOBAL NOT IN (SELECT" in made and "tenant IN ('a')" in made
    assert made.startswith("CREATE OR REPLACE VIEW analytics.v ON CLUSTER 'c' SQL SECURITY INVOKER")


@pytest.mark.parametrize(
    "statement", ["INSERT INTO {database}.t SELECT 1", TABLE.replace("MergeTree", "Log")]
)
def test_a_statement_that_nobody_has_thought_of_on_a_cluster_is_refused(statement: str) -> None:
    with pytest.raises(NoVariant):
        script(TABLE, statement)


def test_every_migration_has_its_variant_and_later_ones_can_be_had_alone() -> None:
    steps = migrations()
    whole = list(Cluster("c", NAMES).script(steps))
    noted = [s for s in whole if "schema_migrations (version" in s]
    assert [re.findall(r"VALUES \((\d+),", s)[0] for s in noted] == [str(m.version) for m in steps]
    later = list(Cluster("c", NAMES).script(steps, since=2))
    assert later == whole[whole.index(noted[0]) + 1 :]


def test_statements_hold_no_comment_and_no_second_statement() -> None:
    for migration in migrations():
        for statement in migration.statements:
            assert list(split(statement)) == [statement], migration.name


def test_a_tenants_rights_begin_with_its_fences_and_end_with_the_user() -> None:
    found = Readable("sluice", "analytics", ["results"], ["results"])
    said = list(statements(found, ["o'brien"], Person("ann", ["o'brien"], password="a word")))
    order = [s.split(" ON ")[0] for s in said if "tenant" in s or "ann" in s]
    fences, grant = order.index("CREATE ROW POLICY OR REPLACE sluice_all"), order.index("GRANT SELECT")
    assert fences < grant
    assert any(s.endswith("USING tenant = 'o\\'brien' TO `sluice_tenant_o'brien`") for s in said)
    assert said[-1] == "GRANT `sluice_tenants`, `sluice_tenant_o'brien` TO `ann` WITH REPLACE OPTION"
    assert "sha256_hash" in said[-2] and not any("a word" in s for s in said)
