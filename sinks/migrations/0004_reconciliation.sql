-- Reconciliations: what each found, and the ledger of the repairs that they made.
-- Statements end in a semicolon at the end of a line; {database} and {analytics} are databases. Each can be run again.
-- reconciliations is small (a row a table, partition and run: some 100 a run) and read by run or by time.

CREATE TABLE IF NOT EXISTS {database}.repair_ledger
(
    sequence UInt64 COMMENT 'Number of the version; the first writer of a number wins it.' CODEC(Delta(8), ZSTD(1)),
    id String COMMENT 'Id of this version: tells its writer that it won.' CODEC(ZSTD(1)),
    worker LowCardinality(String) COMMENT 'Who wrote it.' CODEC(ZSTD(1)),
    state String COMMENT 'The repairs under way, a JSON text.' CODEC(ZSTD(3)),
    gaps String COMMENT 'Ranges that Kafka had deleted before they were read, a JSON text.' CODEC(ZSTD(3)),
    format_version UInt16 COMMENT 'Version of the meaning of state and gaps.' CODEC(ZSTD(1)),
    inserted_at DateTime64(6, 'UTC')
        DEFAULT if(throwIf(lease_until < now64(3), 'the lease of this insert is over') = 0, now64(6), lease_until)
        COMMENT 'When it was written; of several with one number the first counts.' CODEC(Delta(8), ZSTD(1)),
    lease_until DateTime64(3, 'UTC') EPHEMERAL now64(3) + toIntervalMinute(1)
        COMMENT 'Not kept: an insert that comes after it is refused.'
)
ENGINE = MergeTree
PARTITION BY intDiv(sequence, 100000)
ORDER BY sequence
SETTINGS index_granularity = 64, non_replicated_deduplication_window = 10000
COMMENT 'The ledger of repairs: each is recorded before its first row is written, as the sink does, and closed after its last.';

CREATE TABLE IF NOT EXISTS {database}.reconciliations
(
    run String COMMENT 'Id of the run.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When this was noted.' CODEC(Delta(8), ZSTD(1)),
    event LowCardinality(String) COMMENT 'claimed: a run on schedule begins. compared: rows of a range agree, or not. finding: a gap. finished: the run is over.' CODEC(ZSTD(1)),
    scope LowCardinality(String) COMMENT 'new: what came since the run before. all: everything. part: a range of time.' CODEC(ZSTD(1)),
    worker LowCardinality(String) COMMENT 'Who ran it.' CODEC(ZSTD(1)),
    number UInt64 COMMENT 'claimed: number of the run on schedule, from 1. The first to claim it runs.' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic; empty where it is about none.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Its partition.' CODEC(ZSTD(1)),
    position_from Int64 COMMENT 'compared: first position of the range. finding: first offset; -1 where it is about none.' CODEC(ZSTD(1)),
    position_to Int64 COMMENT 'compared: position behind the range. finding: last offset.' CODEC(ZSTD(1)),
    table LowCardinality(String) COMMENT 'Table; empty where it is about none, or where the range has gaps.' CODEC(ZSTD(1)),
    records UInt64 COMMENT 'Records compared: of the range, or of the whole run where finished.' CODEC(ZSTD(1)),
    rows UInt64 COMMENT 'compared: rows of the table in the range.' CODEC(ZSTD(1)),
    digest UInt64 COMMENT 'compared: sum of sipHash64(kafka_offset) over these rows.' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'finding: kind of the gap.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'finding: tenant of the request; empty where it is about none.' CODEC(ZSTD(1)),
    request_id String COMMENT 'finding: the request; empty where it is about none.' CODEC(ZSTD(1)),
    subject String COMMENT 'finding: id of an attempt or event; empty where it is about none.' CODEC(ZSTD(1)),
    count UInt64 COMMENT 'finding: how many rows or events it is about.' CODEC(ZSTD(1)),
    mended Bool COMMENT 'finding: whether a repair has put it right.' CODEC(ZSTD(1)),
    gaps UInt64 COMMENT 'Gaps left: of the range, or of the whole run where finished.' CODEC(ZSTD(1)),
    horizon Nullable(DateTime64(3, 'UTC')) COMMENT 'finished: requests and attempts were judged as things stood then. NULL: another event.' CODEC(ZSTD(1)),
    open_since Nullable(DateTime64(3, 'UTC')) COMMENT 'finished: when the oldest request without result, or call without end, was accepted or began. NULL: none, or another event.' CODEC(ZSTD(1)),
    duration_ms UInt64 COMMENT 'finished: how long the run took.' CODEC(ZSTD(1)),
    note String COMMENT 'More, for people.' CODEC(ZSTD(1)),
    inserted_at DateTime64(3, 'UTC')
        DEFAULT if(throwIf(lease_until < now64(3), 'the lease of this insert is over') = 0, now64(3), lease_until)
        COMMENT 'When this row came in.' CODEC(Delta(8), ZSTD(1)),
    lease_until DateTime64(3, 'UTC') EPHEMERAL now64(3) + toIntervalMinute(1)
        COMMENT 'Not kept: an insert that comes after it is refused.'
)
ENGINE = MergeTree
PARTITION BY toYear(at)
ORDER BY (at, run, event)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Comparisons of Kafka with these tables: one row for each run, for each gap that it found, and for each range and table that it saw agree.';

CREATE OR REPLACE VIEW {analytics}.reconciliations SQL SECURITY INVOKER AS
SELECT
    run, at, event, scope, worker, topic, partition, position_from, position_to, table, records, rows, digest,
    kind, tenant, request_id, subject, count, mended, gaps, horizon, open_since, duration_ms, note, inserted_at
FROM {database}.reconciliations
COMMENT 'Comparisons of Kafka with these tables: one row for each run, for each gap that it found, and for each range and table that it saw agree.';
