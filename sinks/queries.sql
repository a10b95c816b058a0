-- The sink's queries, by name. {database} is the database's name, {table} a table's; {x:Type} are parameters.

-- name: create_database
CREATE DATABASE IF NOT EXISTS {database}

-- name: create_migrations
CREATE TABLE IF NOT EXISTS {database}.schema_migrations
(
    version UInt32 COMMENT 'Number of the migration: files are applied in its order.',
    name String COMMENT 'Name of its file.',
    checksum String COMMENT 'SHA-256 of the file, in hexadecimal.',
    event LowCardinality(String) COMMENT 'started, failed or applied.',
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
FROM {database}.{ledger} ORDER BY sequence DESC, inserted_at LIMIT 1

-- name: ledger_version
SELECT sequence, id, worker, state, gaps, format_version, toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM {database}.{ledger} WHERE sequence = {sequence:UInt64} ORDER BY inserted_at LIMIT 1

-- name: ledger_partitions
SELECT DISTINCT partition FROM system.parts
WHERE active AND database = {database_name:String} AND table = {ledger_name:String} ORDER BY toUInt64(partition)

-- name: ledger_drop
ALTER TABLE {database}.{ledger} DROP PARTITION {partition:String}

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

-- name: offsets
SELECT kafka_offset FROM {database}.{table}
WHERE kafka_topic = {topic:String} AND kafka_partition = {partition:Int32}
  AND kafka_offset >= {start:Int64} AND kafka_offset < {end:Int64}
LIMIT {most:UInt64}

-- name: chain
SELECT kafka_offset, sequence FROM {database}.audit
WHERE kafka_topic = {topic:String} AND kafka_partition = {partition:Int32}
  AND kafka_offset >= {start:Int64} AND kafka_offset < {end:Int64}
ORDER BY kafka_offset

-- name: digests
SELECT kafka_topic, kafka_partition, count(), sum(sipHash64(kafka_offset)) FROM {database}.{table}
WHERE {ranges}
GROUP BY kafka_topic, kafka_partition

-- name: first_offset
SELECT count(), min(kafka_offset) FROM {database}.{table}
WHERE kafka_topic = {topic:String} AND kafka_partition = {partition:Int32}
  AND kafka_timestamp >= fromUnixTimestamp64Milli({since:Int64})

-- name: topics_of_table
SELECT DISTINCT kafka_topic FROM {database}.{table}

-- name: landed_at
SELECT kafka_offset, toUnixTimestamp64Milli(min(inserted_at)) FROM {database}.{table}
WHERE kafka_topic = {topic:String} AND kafka_partition = {partition:Int32}
  AND kafka_offset >= {start:Int64} AND kafka_offset < {end:Int64}
GROUP BY kafka_offset

-- name: copies
SELECT kafka_offset, _part, _part_offset, toUnixTimestamp64Milli(inserted_at) AS at_ms,
       sipHash128(formatRow('JSONCompactEachRow', * EXCEPT (inserted_at))) AS content
FROM {database}.{table}
WHERE kafka_topic = {topic:String} AND kafka_partition = {partition:Int32} AND kafka_offset IN {offsets:Array(Int64)}
ORDER BY kafka_offset, at_ms, _part, _part_offset

-- name: engine_of
SELECT engine FROM system.tables WHERE database = {database_name:String} AND name = {table_name:String}

-- name: remove_copies
ALTER TABLE {database}.{table} DELETE
WHERE kafka_topic = {topic:String} AND kafka_partition = {partition:Int32} AND kafka_offset IN {offsets:Array(Int64)}
  AND has(arrayZip({parts:Array(String)}, {rows:Array(UInt64)}), (_part, _part_offset))
SETTINGS mutations_sync = 2

-- name: letters_of
SELECT id, reason, message FROM {database}.dead_letters
WHERE stage = {stage:String} AND source_topic = {topic:String} AND source_partition = {partition:Int32}
  AND source_offset >= {start:Int64} AND source_offset < {end:Int64}

-- name: count_since
SELECT count() FROM {database}.{table} WHERE kafka_timestamp >= fromUnixTimestamp64Milli({since:Int64})

-- name: first_accepted
SELECT count(), toUnixTimestamp64Milli(min(accepted_at)) FROM {database}.results
WHERE kafka_timestamp >= fromUnixTimestamp64Milli({since:Int64})

-- name: requests_and_results
/* A record is told by one number of its partition and offset: a tuple with its topic costs eight times as much. */
SELECT count() AS pairs, countIf(is_open) AS open_pairs,
       toUnixTimestamp64Milli(minIf(accepted_at, accepted > 0 AND ended = 0)) AS open_since,
       countIf(fault != '') AS faults, groupArrayIf({most:UInt32})((fault, tenant, request_id), fault != '') AS found
FROM
(
    SELECT tenant, request_id, accepted_at, countIf(is_request) AS accepted, countIf(NOT is_request) AS ended,
           maxIf(due, is_request) AS due_at, max(seen) AS seen_at,
           accepted > 0 AND ended = 0
               AND greatest(due_at + toIntervalMillisecond({grace:Int64}), seen_at)
                   < fromUnixTimestamp64Milli({horizon:Int64}) AS overdue,
           accepted > 0 AND ended = 0 AND NOT overdue AS is_open,
           multiIf(minIf(record, is_request) != maxIf(record, is_request), 'accepted_twice',
                   minIf(record, NOT is_request) != maxIf(record, NOT is_request), 'two_results',
                   overdue, 'no_result',
                   accepted = 0 AND seen_at < fromUnixTimestamp64Milli({horizon:Int64}), 'not_accepted', '') AS fault
    FROM
    (
        SELECT tenant, request_id, accepted_at, bitShiftLeft(toInt64(kafka_partition), 44) + kafka_offset AS record,
               ifNull(deadline_at, toDateTime64('2200-01-01', 3, 'UTC')) AS due, kafka_timestamp AS seen,
               true AS is_request
        FROM {database}.requests
        WHERE accepted_at >= fromUnixTimestamp64Milli({since:Int64})
          AND accepted_at < fromUnixTimestamp64Milli({until:Int64})
          AND sipHash64(tenant, request_id) % {buckets:UInt32} = {bucket:UInt32}
        UNION ALL
        SELECT tenant, request_id, accepted_at, bitShiftLeft(toInt64(kafka_partition), 44) + kafka_offset AS record,
               toDateTime64('2000-01-01', 3, 'UTC') AS due, kafka_timestamp AS seen, false AS is_request
        FROM {database}.results
        WHERE accepted_at >= fromUnixTimestamp64Milli({since:Int64})
          AND accepted_at < fromUnixTimestamp64Milli({until:Int64})
          AND completed_at >= fromUnixTimestamp64Milli({since:Int64}) - toIntervalDay(1)
          AND sipHash64(tenant, request_id) % {buckets:UInt32} = {bucket:UInt32}
    )
    GROUP BY tenant, request_id, accepted_at
)
SETTINGS max_bytes_before_external_group_by = 300000000

-- name: attempts_and_usage
SELECT countIf(begun_at < fromUnixTimestamp64Milli({until:Int64})) AS attempts, countIf(is_open) AS open_attempts,
       toUnixTimestamp64Milli(minIf(begun_at, running > 0)) AS open_since,
       countIf(fault != '') AS faults,
       groupArrayIf({most:UInt32})((fault, tenant, request_id, attempt_id), fault != '') AS found
FROM
(
    SELECT attempt_id, any(tenant) AS tenant, any(request_id) AS request_id, sum(started) AS calls,
           sum(done) AS ends, sum(used) AS usages, sum(used_calls) AS called,
           if(ends > 0, 0, countIf(last_phase IN ('started', 'handed_over'))) AS running,
           min(begun) AS begun_at, max(must_end) AS end_by, max(last_seen) AS seen_at,
           running > 0
               AND greatest(end_by + toIntervalMillisecond({grace:Int64}), seen_at)
                   >= fromUnixTimestamp64Milli({horizon:Int64}) AS is_open,
           multiIf(begun_at >= fromUnixTimestamp64Milli({until:Int64}), '',
                   running > 0, if(is_open, '', 'no_end'),
                   seen_at >= fromUnixTimestamp64Milli({horizon:Int64}), '',
                   ends > 0 AND usages = 0, 'no_usage',
                   called > 0 AND calls = 0, 'no_attempt', '') AS fault
    FROM
    (
        SELECT attempt_id, any(tenant) AS tenant, any(request_id) AS request_id,
               argMax(phase, kafka_offset) AS last_phase, countIf(phase = 'started') AS started,
               countIf(phase = 'done') AS done, min(at) AS begun, max(ifNull(must_end_by, at)) AS must_end,
               max(kafka_timestamp) AS last_seen, 0 AS used, 0 AS used_calls
        FROM {database}.attempts
        WHERE at >= fromUnixTimestamp64Milli({since:Int64})
          AND sipHash64(attempt_id) % {buckets:UInt32} = {bucket:UInt32}
        GROUP BY attempt_id, worker
        UNION ALL
        SELECT attempt_id, tenant, request_id, '' AS last_phase, 0 AS started, 0 AS done, recorded_at AS begun,
               recorded_at AS must_end, kafka_timestamp AS last_seen, 1 AS used,
               tries > 0 AND corrects = '' AS used_calls
        FROM {database}.usage
        WHERE recorded_at >= fromUnixTimestamp64Milli({since:Int64})
          AND sipHash64(attempt_id) % {buckets:UInt32} = {bucket:UInt32}
    )
    GROUP BY attempt_id
)
SETTINGS max_bytes_before_external_group_by = 300000000

-- name: known_attempts
SELECT attempt_id, 'no_usage' AS kind FROM {database}.usage WHERE attempt_id IN {ids:Array(String)}
UNION ALL
SELECT attempt_id, 'no_attempt' AS kind FROM {database}.attempts
WHERE attempt_id IN {ids:Array(String)} AND phase = 'started'

-- name: issued_and_settled
SELECT countIf(settled < issued) AS faults,
       groupArrayIf({most:UInt32})((tenant, request_id, toUInt32(issued - settled)), settled < issued) AS found
FROM
(
    SELECT tenant, request_id, accepted_at, max(attempts_issued) AS issued,
           uniqExactIf(number, number > 0) AS settled, countIf(is_result) AS results
    FROM
    (
        SELECT tenant, request_id, accepted_at, attempts AS attempts_issued, toUInt32(0) AS number, true AS is_result
        FROM {database}.results
        WHERE completed_at >= fromUnixTimestamp64Milli({since:Int64})
          AND completed_at < fromUnixTimestamp64Milli({settled_by:Int64})
          AND sipHash64(tenant, request_id) % {buckets:UInt32} = {bucket:UInt32}
        UNION ALL
        SELECT tenant, request_id, accepted_at, toUInt32(0) AS attempts_issued, attempt AS number, false AS is_result
        FROM {database}.usage
        WHERE recorded_at >= fromUnixTimestamp64Milli({since:Int64}) - toIntervalDay(8) AND corrects = ''
          AND sipHash64(tenant, request_id) % {buckets:UInt32} = {bucket:UInt32}
    )
    GROUP BY tenant, request_id, accepted_at
    HAVING results > 0
)
SETTINGS max_bytes_before_external_group_by = 300000000

-- name: doubled_events
SELECT event_id, any(tenant), any(request_id), count() AS copies FROM
(
    SELECT event_id, tenant, request_id, accepted_at, bitShiftLeft(toInt64(kafka_partition), 44) + kafka_offset AS record
    FROM {database}.{table}
    WHERE kafka_timestamp >= fromUnixTimestamp64Milli({since:Int64}) AND accepted_at IS NOT NULL
      AND sipHash64(event_id) % {buckets:UInt32} = {bucket:UInt32}
)
GROUP BY event_id, accepted_at HAVING min(record) != max(record) LIMIT {most:UInt32}
SETTINGS max_bytes_before_external_group_by = 300000000

-- name: ledger_gaps
SELECT DISTINCT gaps FROM {database}.sink_ledger WHERE gaps != '[]'

-- name: last_claim
SELECT max(number), toUnixTimestamp64Milli(max(at)) FROM {database}.reconciliations WHERE event = 'claimed'

-- name: claimant
SELECT run FROM {database}.reconciliations WHERE event = 'claimed' AND number = {number:UInt64}
ORDER BY inserted_at LIMIT 1

-- name: last_run
SELECT run, scope, toUnixTimestamp64Milli(at), gaps, toUnixTimestamp64Milli(horizon),
       toUnixTimestamp64Milli(open_since)
FROM {database}.reconciliations WHERE event = 'finished' AND scope IN ('new', 'all') ORDER BY at DESC LIMIT 1

-- name: compared_by
SELECT topic, partition, position_from, position_to, gaps FROM {database}.reconciliations
WHERE event = 'compared' AND run = {run:String} GROUP BY ALL

-- name: findings_of
SELECT kind, sum(count) FROM {database}.reconciliations
WHERE event = 'finding' AND run = {run:String} AND NOT mended GROUP BY kind

-- name: seals
SELECT position_from, position_to, argMax(rows, inserted_at), argMax(digest, inserted_at) FROM {database}.reconciliations
WHERE event = 'compared' AND gaps = 0 AND table = {table_name:String} AND topic = {topic:String}
  AND partition = {partition:Int32} AND position_from < {below:Int64}
GROUP BY position_from, position_to

-- name: sealed_tables
SELECT DISTINCT topic, table FROM {database}.reconciliations WHERE event = 'compared' AND table != ''

-- name: recorded
SELECT count() FROM {database}.reconciliations WHERE run = {run:String} AND event = 'finished'

-- name: with_tenant
SELECT c.database, c.table FROM system.columns AS c INNER JOIN system.tables AS t
    ON t.database = c.database AND t.name = c.table
WHERE c.database IN ({database_name:String}, {analytics_name:String}) AND c.name = 'tenant'
    AND NOT startsWith(c.table, '.') AND t.engine NOT IN ('Null', 'MaterializedView')
ORDER BY c.database, c.table

-- name: described
SELECT c.database, c.table, t.comment, c.name, c.type, c.comment
FROM system.columns AS c INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE c.database IN ({database_name:String}, {analytics_name:String}) AND c.default_kind != 'EPHEMERAL'
    AND NOT startsWith(c.table, '.') AND t.engine NOT IN ('Null', 'MaterializedView')
ORDER BY c.database, c.table, c.position

-- name: erasure_orders
SELECT id, any(tenant), any(`user`), any(request_id), toUnixTimestamp64Milli(any(accepted_until)),
       toUnixTimestamp64Milli(any(letters_until)), argMinIf(who, at, event = 'ordered'),
       argMinIf(reason, at, event = 'ordered'), toUnixTimestamp64Milli(min(at)) AS first,
       countIf(event = 'audited') > 0, countIf(event = 'finished') > 0, toUnixTimestamp64Milli(max(at))
FROM {database}.erasures GROUP BY id ORDER BY first, id

-- name: erasure_event
INSERT INTO {database}.erasures
    (id, event, tenant, `user`, request_id, accepted_until, letters_until, who, reason, table, rows)
VALUES ({id:String}, {event:String}, {tenant:String}, {user:String}, {request_id:String},
    fromUnixTimestamp64Milli({accepted_until:Int64}), fromUnixTimestamp64Milli({letters_until:Int64}),
    {who:String}, {reason:String}, {erased_table:String}, {erased_rows:UInt64})

-- name: holds
SELECT id, any(tenant), any(`user`), any(request_id), argMinIf(who, at, event = 'placed'),
       argMinIf(reason, at, event = 'placed'), toUnixTimestamp64Milli(min(at)) AS first
FROM {database}.legal_holds GROUP BY id HAVING countIf(event = 'released') = 0 ORDER BY first, id

-- name: hold_event
INSERT INTO {database}.legal_holds (id, event, tenant, `user`, request_id, who, reason)
VALUES ({id:String}, {event:String}, {tenant:String}, {user:String}, {request_id:String}, {who:String}, {reason:String})

-- name: count_bodies
SELECT count(), sum(length(text) + length(parts)) FROM {database}.bodies WHERE {ranges}

-- name: count_dead_letters
SELECT count(), sum(ifNull(length(value), 0) + ifNull(length(`key`), 0)) FROM {database}.dead_letters WHERE {ranges}

-- name: erase_bodies
ALTER TABLE {database}.bodies UPDATE text = '', parts = '', erasure = {erasure:String} WHERE {ranges}
SETTINGS mutations_sync = 2

-- name: erase_dead_letters
ALTER TABLE {database}.dead_letters UPDATE `key` = NULL, value = NULL, headers = [], erasure = {erasure:String}
WHERE {ranges}
SETTINGS mutations_sync = 2

-- name: set_held
ALTER TABLE {database}.{table} UPDATE held = {held:UInt8} WHERE {ranges} SETTINGS mutations_sync = 2

-- name: known_requests
SELECT count() FROM {database}.requests WHERE {ranges}

-- name: engine_of_bodies
SELECT engine FROM system.tables WHERE database = {database_name:String} AND name = 'bodies'

-- name: old_parts_s
SELECT toUInt32(value) FROM system.merge_tree_settings WHERE name = 'old_parts_lifetime'

-- name: engine_of
SELECT engine FROM system.tables WHERE database = {database_name:String} AND name = {table_name:String}

-- name: clear_sums
ALTER TABLE {database}.{table} CLEAR PROJECTION {projection} SETTINGS mutations_sync = 0

-- name: make_sums
ALTER TABLE {database}.{table} MATERIALIZE PROJECTION {projection} SETTINGS mutations_sync = 0

-- name: mutations_left
SELECT count(), sum(parts_to_do), anyIf(latest_fail_reason, latest_fail_reason != '') FROM system.mutations
WHERE NOT is_done AND database = {database_name:String} AND table = {table_name:String}
  AND position(command, {command:String}) > 0

-- name: parts
SELECT count(), sum(rows), sum(bytes_on_disk) FROM system.parts
WHERE active AND rows > 0 AND database = {database_name:String} AND table = {table_name:String}

-- name: parts_with_sums
SELECT count(), sum(rows), sum(bytes_on_disk) FROM system.projection_parts
WHERE active AND database = {database_name:String} AND table = {table_name:String} AND name = {projection_name:String}

-- name: parts_without_sums
SELECT name FROM system.parts
WHERE active AND rows > 0 AND database = {database_name:String} AND table = {table_name:String}
  AND name NOT IN (SELECT parent_name FROM system.projection_parts
      WHERE active AND database = {database_name:String} AND table = {table_name:String}
        AND name = {projection_name:String})
