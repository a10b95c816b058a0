-- Erasures and legal holds. Statements end in a semicolon at the end of a line; {database} and {analytics} are databases.
-- Each can be run again. Both tables are small (a few rows an order) and read as a whole: they are ordered by id, and
-- on a cluster they aren't spread. They are kept for ever: an order stands, and who erased what must stay known.

CREATE TABLE IF NOT EXISTS {database}.erasures
(
    id String COMMENT 'Id of the order; its audit event carries it as command_id.' CODEC(ZSTD(1)),
    event LowCardinality(String) COMMENT 'ordered: somebody asked. audited: the audit event is durable, and the order stands from now on. erased: so many rows of a table were erased by then. finished: nothing was left that is under no hold.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When.' CODEC(Delta(8), ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Tenant whose texts are erased.' CODEC(ZSTD(1)),
    `user` String COMMENT 'Only those of this user; empty: of all.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Only those of this request; empty: of all.' CODEC(ZSTD(1)),
    accepted_until DateTime64(3, 'UTC') COMMENT 'Texts of requests accepted until then, whenever they come in.' CODEC(Delta(8), ZSTD(1)),
    letters_until DateTime64(3, 'UTC') COMMENT 'Dead letters about later stages made until then: so long may a request accepted before be under way.' CODEC(Delta(8), ZSTD(1)),
    who String COMMENT 'Who ordered it.' CODEC(ZSTD(1)),
    reason String COMMENT 'Why.' CODEC(ZSTD(1)),
    table LowCardinality(String) COMMENT 'erased: the table; else empty.' CODEC(ZSTD(1)),
    rows UInt64 COMMENT 'erased: rows of the table that this order has erased by then.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (id, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Orders to erase texts and the original bytes of dead letters, and what became of them: one row an event.';

CREATE TABLE IF NOT EXISTS {database}.legal_holds
(
    id String COMMENT 'Id of the hold; its audit event carries it as command_id.' CODEC(ZSTD(1)),
    event LowCardinality(String) COMMENT 'placed: it holds from now on. release_ordered: somebody asked for its end. released: it holds no more.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When.' CODEC(Delta(8), ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Tenant whose texts are kept.' CODEC(ZSTD(1)),
    `user` String COMMENT 'Only those of this user; empty: of all.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Only those of this request; empty: of all.' CODEC(ZSTD(1)),
    who String COMMENT 'Who did it.' CODEC(ZSTD(1)),
    reason String COMMENT 'Why.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (id, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Legal holds: what neither retention nor an erasure may remove. One row an event.';

-- A hold is a column of the row that the TTL reads: an update of it has ClickHouse reckon the TTL of its part anew, and
-- rows that arrive under a hold bring it along. Tried with the engine: with held set before the time was over, a forced
-- merge after it removed the rows beside and kept these; once released, the next merge took them.
-- Both columns hold one value nearly everywhere and take next to nothing.
ALTER TABLE {database}.bodies
    ADD COLUMN IF NOT EXISTS held Bool DEFAULT false COMMENT 'Under a legal hold: neither retention nor an erasure removes it.' CODEC(ZSTD(1)) AFTER retention_days,
    ADD COLUMN IF NOT EXISTS erasure LowCardinality(String) DEFAULT '' COMMENT 'Id of the erasure that emptied text and parts; empty where none did.' CODEC(ZSTD(1)) AFTER held;

ALTER TABLE {database}.bodies
    MODIFY TTL if(held OR retention_days = 0, toDateTime('2106-01-01 00:00:00', 'UTC'), toDateTime(inserted_at) + toIntervalDay(retention_days))
SETTINGS materialize_ttl_after_modify = 0;

ALTER TABLE {database}.dead_letters
    ADD COLUMN IF NOT EXISTS held Bool DEFAULT false COMMENT 'Under a legal hold: neither retention nor an erasure removes key, value and headers.' CODEC(ZSTD(1)) AFTER retention_days,
    ADD COLUMN IF NOT EXISTS erasure LowCardinality(String) DEFAULT '' COMMENT 'Id of the erasure that emptied key, value and headers; empty where none did.' CODEC(ZSTD(1)) AFTER held;

ALTER TABLE {database}.dead_letters
    MODIFY COLUMN `key` TTL if(held OR retention_days = 0, toDateTime('2106-01-01 00:00:00', 'UTC'), toDateTime(inserted_at) + toIntervalDay(retention_days)),
    MODIFY COLUMN value TTL if(held OR retention_days = 0, toDateTime('2106-01-01 00:00:00', 'UTC'), toDateTime(inserted_at) + toIntervalDay(retention_days)),
    MODIFY COLUMN headers TTL if(held OR retention_days = 0, toDateTime('2106-01-01 00:00:00', 'UTC'), toDateTime(inserted_at) + toIntervalDay(retention_days))
SETTINGS materialize_ttl_after_modify = 0;

CREATE OR REPLACE VIEW {analytics}.bodies SQL SECURITY INVOKER AS
SELECT
    tenant, request_id, completed_at, side, text, parts, retention_days, held, erasure, kafka_topic,
    kafka_partition, kafka_offset, kafka_timestamp, inserted_at
FROM {database}.bodies
COMMENT 'Texts of results, kept as long as retention_days says, or a legal hold; empty where erasure names an order.';

CREATE OR REPLACE VIEW {analytics}.dead_letters SQL SECURITY INVOKER AS
SELECT
    id, kind, stage, reason, message, at, source_topic, source_partition, source_offset, source_timestamp,
    `key`, value, headers, claimed_tenant, request_id, retention_days, held, erasure, kafka_topic,
    kafka_partition, kafka_offset, kafka_timestamp, inserted_at
FROM {database}.dead_letters
WHERE (kafka_topic, kafka_partition, kafka_offset) IN
    (SELECT argMin((kafka_topic, kafka_partition, kafka_offset), (kafka_partition, kafka_offset)) FROM {database}.dead_letters GROUP BY id)
COMMENT 'Events that could not be processed, with their original bytes: one row for each, also where a crash had its letter published twice.';

CREATE OR REPLACE VIEW {analytics}.erasures SQL SECURITY INVOKER AS
SELECT
    e.id AS id, any(e.tenant) AS tenant, any(e.user) AS `user`, any(e.request_id) AS request_id,
    any(e.accepted_until) AS accepted_until, argMinIf(e.who, e.at, e.event = 'ordered') AS who,
    argMinIf(e.reason, e.at, e.event = 'ordered') AS reason, min(e.at) AS ordered_at,
    minOrNullIf(e.at, e.event = 'finished') AS finished_at,
    maxIf(e.rows, e.event = 'erased' AND e.table = 'bodies') AS bodies,
    maxIf(e.rows, e.event = 'erased' AND e.table = 'dead_letters') AS dead_letters
FROM {database}.erasures AS e
GROUP BY e.id
COMMENT 'Orders to erase texts and the original bytes of dead letters: one row each.';

ALTER TABLE {analytics}.erasures
    COMMENT COLUMN ordered_at 'When it was ordered.',
    COMMENT COLUMN finished_at 'When nothing was left that is under no hold. NULL: it isn''t finished.',
    COMMENT COLUMN bodies 'Texts that it has erased.',
    COMMENT COLUMN dead_letters 'Dead letters whose original bytes it has erased.';

CREATE OR REPLACE VIEW {analytics}.legal_holds SQL SECURITY INVOKER AS
SELECT
    h.id AS id, any(h.tenant) AS tenant, any(h.user) AS `user`, any(h.request_id) AS request_id,
    argMinIf(h.reason, h.at, h.event = 'placed') AS reason, argMinIf(h.who, h.at, h.event = 'placed') AS who,
    min(h.at) AS placed_at, minOrNullIf(h.at, h.event = 'released') AS released_at,
    argMaxIf(h.who, h.at, h.event = 'release_ordered') AS released_by,
    argMaxIf(h.reason, h.at, h.event = 'release_ordered') AS release_reason
FROM {database}.legal_holds AS h
GROUP BY h.id
COMMENT 'Legal holds: one row each.';

ALTER TABLE {analytics}.legal_holds
    COMMENT COLUMN placed_at 'When it was placed.',
    COMMENT COLUMN released_at 'When it was released. NULL: it holds.',
    COMMENT COLUMN released_by 'Who released it; empty where nobody has.',
    COMMENT COLUMN release_reason 'Why it was released.';
