-- The sink's queries, by name. {database} is the database's name, {table} a table's; {x:Type} are parameters.

-- name: create_database
CREATE DATABASE IF NOT EXISTS {database}

-- name: create_migrations
CREATE TABLE IF NOT EXISTS {database}.schema_migrations
(
    version UInt32 COMMENT 'Number of the migration: files are applied in its order.',
    name String COMMENT 'Name of its file.',
    checksum String COMMENT 'SHA-256 of the file, in hexadecimal.',
    event LowCardinality(String) COMMENT 'started or applied.',
    runner String COMMENT 'Who did it: an id of the run.',
    at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When.'
)
ENGINE = MergeTree
ORDER BY (version, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Migrations of this database. Forward only; an applied file never changes.'

-- name: migrations
SELECT version, name, checksum, event, runner, toUnixTimestamp64Milli(at) AS at_ms,
       toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM {database}.schema_migrations ORDER BY version, at

-- name: migration_event
INSERT INTO {database}.schema_migrations (version, name, checksum, event, runner)
VALUES ({version:UInt32}, {name:String}, {checksum:String}, {event:String}, {runner:String})

-- name: columns
SELECT table, name, type FROM system.columns WHERE database = {database_name:String}

-- name: now
SELECT toUnixTimestamp64Milli(now64(3))

-- name: ledger_latest
SELECT sequence, id, worker, state, gaps, format_version, toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM {database}.sink_ledger ORDER BY sequence DESC, inserted_at LIMIT 1

-- name: ledger_version
SELECT sequence, id, worker, state, gaps, format_version, toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM {database}.sink_ledger WHERE sequence = {sequence:UInt64} ORDER BY inserted_at LIMIT 1

-- name: ledger_partitions
SELECT DISTINCT partition FROM system.parts
WHERE active AND database = {database_name:String} AND table = 'sink_ledger' ORDER BY toUInt64(partition)

-- name: ledger_drop
ALTER TABLE {database}.sink_ledger DROP PARTITION {partition:String}

-- name: present
SELECT kafka_topic, kafka_partition, kafka_offset FROM {database}.{table} WHERE {ranges}

-- name: create_probe
CREATE TABLE IF NOT EXISTS {database}.{probe} AS {database}.{table} ENGINE = Null
COMMENT 'Keeps nothing: finds which rows of a refused insert are wrong. May be dropped.'

-- name: probe_newest
INSERT INTO {database}.{probe} ({columns}) SELECT {columns} FROM {database}.{table} WHERE _part =
    (SELECT name FROM system.parts WHERE active AND database = {database_name:String} AND table = {table_name:String}
     ORDER BY modification_time DESC LIMIT 1)
LIMIT 1

-- name: any_row
SELECT 1 FROM {database}.{table} LIMIT 1

-- name: drop_probe
DROP TABLE IF EXISTS {database}.{probe}
