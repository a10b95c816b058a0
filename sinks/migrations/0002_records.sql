-- Tables of the remaining topics, how long texts stay, and the analysts' views of the plain tables.
-- Statements end in a semicolon at the end of a line; {database} and {analytics} are databases. Each can be run again.
--
-- The choices, here and in 0001_tables.sql, with what was measured on a million rows of usage, a million decisions and
-- 50,000 texts, merged (`make bench NAME=tables`):
-- - Codecs. Usage takes 113 bytes a row, and 220 with LZ4, a server's default; decisions 77 and 150; bodies 503 and 905.
--   Random ids are half of it: 36 characters take 19 bytes, of which 16 are chance. Delta before ZSTD saves 1 byte a row
--   of decisions and none of usage, whose times jump within a tenant; ZSTD(3) saves 2% of a text against ZSTD(1).
-- - Order by tenant, then time. Six hours of one tenant read 7,000 to 14,000 rows of the million; by time first they read
--   220,000. Six hours of all tenants read 620,000 instead: questions about everybody are what aggregates are for.
-- - Partitions by month, of a time that the record itself gives. A block sent again must fall into the same partition,
--   or its token isn't known there; so never by the time of insertion.
-- - The index over offsets serves a repeated intent. Its last 500 offsets are looked for in 330,000 rows of the million
--   where all lie in one part, and parts with older offsets aren't read at all.
-- - Rows of numbers and names have no TTL. What grows is texts.

-- Partitioned by the time of the record, which is the broker's (streams/topics.py): the publisher's own `at` could name
-- any month of two centuries. Free text takes the stronger ZSTD.
CREATE TABLE IF NOT EXISTS {database}.feedback
(
    tenant LowCardinality(String) COMMENT 'Tenant, as the publisher of the feedback states it: it isn''t verified.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request judged, unique within its tenant.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When it was judged, by the publisher''s clock.' CODEC(Delta(8), ZSTD(1)),
    score Nullable(Float64) COMMENT '0 to 1. NULL: none given, or none that is a number.' CODEC(ZSTD(1)),
    label LowCardinality(String) COMMENT 'Short label; empty where not given.' CODEC(ZSTD(1)),
    comment String COMMENT 'Free text; empty where not given.' CODEC(ZSTD(3)),
    source LowCardinality(String) COMMENT 'Who or what judged; empty where not given.' CODEC(ZSTD(1)),
    metadata Map(String, String) COMMENT 'The metadata map of the feedback.' CODEC(ZSTD(1)),
    kafka_topic LowCardinality(String) COMMENT 'Topic of the record that this row was made of.' CODEC(ZSTD(1)),
    kafka_partition Int32 COMMENT 'Its partition.' CODEC(ZSTD(1)),
    kafka_offset Int64 COMMENT 'Its offset: topic, partition and offset are unique in this table.' CODEC(Delta(8), ZSTD(1)),
    kafka_timestamp DateTime64(3, 'UTC') COMMENT 'Its timestamp on Kafka.' CODEC(Delta(8), ZSTD(1)),
    inserted_at DateTime64(3, 'UTC')
        DEFAULT if(throwIf(lease_until < now64(3), 'the lease of this insert is over') = 0, now64(3), lease_until)
        COMMENT 'When this row came in.' CODEC(Delta(8), ZSTD(1)),
    lease_until DateTime64(3, 'UTC') EPHEMERAL now64(3) + toIntervalMinute(1)
        COMMENT 'Not kept: an insert that comes after it is refused.',
    INDEX by_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_timestamp)
ORDER BY (tenant, at, request_id)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Judgements of results, as they were published. One request may have several.';

-- A handful of rows a month: neither partitioned nor ordered by tenant. Read as a whole by its views.
CREATE TABLE IF NOT EXISTS {database}.config_versions
(
    config_version LowCardinality(String) COMMENT 'Content hash of the configuration: the first 16 hexadecimal digits of its SHA-256.' CODEC(ZSTD(1)),
    event LowCardinality(String) COMMENT 'published: its content was put on the topic. activated: it came into force. removed: its content was deleted.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When (timestamp of the record).' CODEC(Delta(8), ZSTD(1)),
    content String COMMENT 'The configuration, a JSON text; only where published. Secrets stand in it as references, anything else in their place as ***.' CODEC(ZSTD(3)),
    content_matches Bool COMMENT 'Whether the content is what its hash says; true where there is none.' CODEC(ZSTD(1)),
    kafka_topic LowCardinality(String) COMMENT 'Topic of the record that this row was made of.' CODEC(ZSTD(1)),
    kafka_partition Int32 COMMENT 'Its partition.' CODEC(ZSTD(1)),
    kafka_offset Int64 COMMENT 'Its offset: topic, partition and offset are unique in this table.' CODEC(Delta(8), ZSTD(1)),
    kafka_timestamp DateTime64(3, 'UTC') COMMENT 'Its timestamp on Kafka.' CODEC(Delta(8), ZSTD(1)),
    inserted_at DateTime64(3, 'UTC')
        DEFAULT if(throwIf(lease_until < now64(3), 'the lease of this insert is over') = 0, now64(3), lease_until)
        COMMENT 'When this row came in.' CODEC(Delta(8), ZSTD(1)),
    lease_until DateTime64(3, 'UTC') EPHEMERAL now64(3) + toIntervalMinute(1)
        COMMENT 'Not kept: an insert that comes after it is refused.',
    INDEX by_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
ORDER BY (config_version, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What was put on the topic of the configuration: contents under their hash, and which of them came into force.';

-- As the other tables of requests. Beside audit, which holds the same as JSON, for what is asked most: 77 bytes a row.
CREATE TABLE IF NOT EXISTS {database}.decisions
(
    event_id String COMMENT 'Deterministic id of the event: the same event made again after a crash has the same.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Tenant.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, unique within its tenant.' CODEC(ZSTD(1)),
    decided_at DateTime64(3, 'UTC') COMMENT 'When it was decided.' CODEC(Delta(8), ZSTD(1)),
    action LowCardinality(String) COMMENT 'accepted: about the first attempt. retried: about a further one.' CODEC(ZSTD(1)),
    attempt UInt32 COMMENT 'Number of the attempt, from 1; 0 where none was issued.' CODEC(ZSTD(1)),
    config_version LowCardinality(String) COMMENT 'Content hash of the configuration that held.' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'Id of the model chosen; empty where none was.' CODEC(ZSTD(1)),
    candidates Array(LowCardinality(String)) COMMENT 'Ids of the models that it was chosen among, best first; empty where none was chosen.' CODEC(ZSTD(1)),
    rule LowCardinality(String) COMMENT 'What named the candidates: the request, or a routing rule by its number in the configuration, from 0; empty for a further attempt.' CODEC(ZSTD(1)),
    why String COMMENT 'Why this one of them.' CODEC(ZSTD(1)),
    reason LowCardinality(String) COMMENT 'Why there is a further attempt: class of the error before it; empty for the first.' CODEC(ZSTD(1)),
    problems Array(LowCardinality(String)) COMMENT 'Codes of all problems of a rejected request.' CODEC(ZSTD(1)),
    worst_case_cost Nullable(Decimal(18, 9)) COMMENT 'US dollars reserved at most for the attempt. NULL: unpriced, or no attempt.' CODEC(ZSTD(1)),
    not_before Nullable(DateTime64(3, 'UTC')) COMMENT 'When the attempt may begin at the earliest. NULL: at once.' CODEC(Delta(8), ZSTD(1)),
    accepted_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the request was accepted. NULL: about no request.' CODEC(Delta(8), ZSTD(1)),
    lane LowCardinality(String) COMMENT 'Lane: interactive, standard or batch.' CODEC(ZSTD(1)),
    task_type LowCardinality(String) COMMENT 'Type of task, as classified.' CODEC(ZSTD(1)),
    application LowCardinality(String) COMMENT 'Application that asked; empty where not given.' CODEC(ZSTD(1)),
    `user` String COMMENT 'User on whose behalf it asked; empty where not given.' CODEC(ZSTD(1)),
    session_id String COMMENT 'Session of the caller; empty where not given.' CODEC(ZSTD(1)),
    purpose LowCardinality(String) COMMENT 'Purpose stated by the caller; empty where not given.' CODEC(ZSTD(1)),
    data_classes Array(LowCardinality(String)) COMMENT 'Classes of data that the request carries.' CODEC(ZSTD(1)),
    metadata Map(String, String) COMMENT 'The metadata map of the request, echoed.' CODEC(ZSTD(1)),
    kafka_topic LowCardinality(String) COMMENT 'Topic of the record that this row was made of.' CODEC(ZSTD(1)),
    kafka_partition Int32 COMMENT 'Its partition.' CODEC(ZSTD(1)),
    kafka_offset Int64 COMMENT 'Its offset: topic, partition and offset are unique in this table.' CODEC(Delta(8), ZSTD(1)),
    kafka_timestamp DateTime64(3, 'UTC') COMMENT 'Its timestamp on Kafka.' CODEC(Delta(8), ZSTD(1)),
    inserted_at DateTime64(3, 'UTC')
        DEFAULT if(throwIf(lease_until < now64(3), 'the lease of this insert is over') = 0, now64(3), lease_until)
        COMMENT 'When this row came in.' CODEC(Delta(8), ZSTD(1)),
    lease_until DateTime64(3, 'UTC') EPHEMERAL now64(3) + toIntervalMinute(1)
        COMMENT 'Not kept: an insert that comes after it is refused.',
    INDEX by_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(decided_at)
ORDER BY (tenant, decided_at, request_id, attempt)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Which model an attempt went to, among which, and why: one row for each acceptance and each further attempt.';

ALTER TABLE {database}.results
    ADD COLUMN IF NOT EXISTS data_classes Array(LowCardinality(String)) COMMENT 'Classes of data that the request carries.' CODEC(ZSTD(1)) AFTER purpose;

-- Retention: the event says how many days, by its classes of data, and the TTL reads them from the row. The
-- engine's times of removal end in 2106 and begin again: so 0 is for ever, and the mapping takes at most ten years. The
-- column holds few values and takes next to nothing. Existing parts keep their times: for them the days are the default,
-- as before, so nothing needs to be rewritten.
ALTER TABLE {database}.bodies
    ADD COLUMN IF NOT EXISTS retention_days UInt16 DEFAULT 30 COMMENT 'Days that this row is kept after its insertion; 0: for ever.' CODEC(ZSTD(1)) AFTER parts;

ALTER TABLE {database}.bodies
    MODIFY TTL if(retention_days = 0, toDateTime('2106-01-01 00:00:00', 'UTC'), toDateTime(inserted_at) + toIntervalDay(retention_days))
SETTINGS materialize_ttl_after_modify = 0;

ALTER TABLE {database}.dead_letters
    ADD COLUMN IF NOT EXISTS retention_days UInt16 DEFAULT 0 COMMENT 'Days that key, value and headers are kept after the insertion; 0: for ever.' CODEC(ZSTD(1)) AFTER request_id;

ALTER TABLE {database}.dead_letters
    MODIFY COLUMN `key` TTL if(retention_days = 0, toDateTime('2106-01-01 00:00:00', 'UTC'), toDateTime(inserted_at) + toIntervalDay(retention_days)),
    MODIFY COLUMN value TTL if(retention_days = 0, toDateTime('2106-01-01 00:00:00', 'UTC'), toDateTime(inserted_at) + toIntervalDay(retention_days)),
    MODIFY COLUMN headers TTL if(retention_days = 0, toDateTime('2106-01-01 00:00:00', 'UTC'), toDateTime(inserted_at) + toIntervalDay(retention_days))
SETTINGS materialize_ttl_after_modify = 0;

CREATE OR REPLACE VIEW {analytics}.requests SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, request_id, accepted_at, config_version, status, reason, model, candidates, why, lane,
    task_type, application, `user`, session_id, purpose, data_classes, idempotency_key, deadline_at,
    input_tokens_estimate, worst_case_cost, problems, source_topic, source_partition, source_offset, details,
    metadata, kafka_topic, kafka_partition, kafka_offset, kafka_timestamp, inserted_at
FROM {database}.requests
COMMENT 'One row for each accepted request, rejected ones included, as it was when it was accepted.';

CREATE OR REPLACE VIEW {analytics}.results SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, request_id, accepted_at, completed_at, config_version, status, error_class,
    error_message, problems, finish_reason, model, provider, deployment, vendor_model, attempts,
    input_uncached_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    tokens_estimated, usage_raw, cost, issued_at, started_at, first_token_at, ended_at, lane, task_type,
    application, `user`, session_id, purpose, data_classes, tags, workflow_name, workflow_id, workflow_step,
    parent_request_id, experiment_key, traceparent, reply_topic, text_characters, metadata, kafka_topic,
    kafka_partition, kafka_offset, kafka_timestamp, inserted_at,
    dateDiff('millisecond', accepted_at, completed_at) AS total_ms,
    dateDiff('millisecond', issued_at, started_at) AS queue_ms,
    dateDiff('millisecond', started_at, first_token_at) AS first_token_ms,
    dateDiff('millisecond', started_at, ended_at) AS call_ms
FROM {database}.results
COMMENT 'One row for each terminal result: exactly one for each accepted request. Texts are in bodies.';

ALTER TABLE {analytics}.results
    COMMENT COLUMN total_ms 'Milliseconds from acceptance to the end.',
    COMMENT COLUMN queue_ms 'Milliseconds from the issue of the call task to the call. NULL: no call.',
    COMMENT COLUMN first_token_ms 'Milliseconds from the call to the first token. NULL: none came.',
    COMMENT COLUMN call_ms 'Milliseconds from the call to its end. NULL: no call.';

CREATE OR REPLACE VIEW {analytics}.notices SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, request_id, kind, original_request_id, accepted_at, noticed_at, config_version,
    error_message, application, `user`, metadata, kafka_topic, kafka_partition, kafka_offset, kafka_timestamp,
    inserted_at
FROM {database}.result_notices
COMMENT 'Notices to callers that are no results: repeats and conflicts of a request id or idempotency key.';

CREATE OR REPLACE VIEW {analytics}.bodies SQL SECURITY INVOKER AS
SELECT
    tenant, request_id, completed_at, side, text, parts, retention_days, kafka_topic, kafka_partition,
    kafka_offset, kafka_timestamp, inserted_at
FROM {database}.bodies
COMMENT 'Texts of results, kept as long as retention_days says.';

CREATE OR REPLACE VIEW {analytics}.usage SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, request_id, attempt, attempt_id, tries, status, accepted_at, recorded_at,
    config_version, model, provider, deployment, vendor_model, input_uncached_tokens, cache_read_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, tokens_estimated, usage_raw, cost, corrects,
    error_class, issued_at, started_at, first_token_at, ended_at, lane, task_type, application, `user`,
    session_id, purpose, experiment_key, workflow_id, metadata, kafka_topic, kafka_partition, kafka_offset,
    kafka_timestamp, inserted_at, dateDiff('millisecond', issued_at, started_at) AS queue_ms,
    dateDiff('millisecond', started_at, first_token_at) AS first_token_ms,
    dateDiff('millisecond', started_at, ended_at) AS call_ms
FROM {database}.usage
WHERE event_id NOT IN (SELECT corrects FROM {database}.usage WHERE corrects != '')
COMMENT 'Tokens and cost of each settled attempt, as they are known by now: a row that a correction replaces is left out.';

ALTER TABLE {analytics}.usage
    COMMENT COLUMN queue_ms 'Milliseconds from the issue of the call task to the call. NULL: no call.',
    COMMENT COLUMN first_token_ms 'Milliseconds from the call to the first token. NULL: none came.',
    COMMENT COLUMN call_ms 'Milliseconds from the call to its end. NULL: no call.';

CREATE OR REPLACE VIEW {analytics}.usage_all SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, request_id, attempt, attempt_id, tries, status, accepted_at, recorded_at,
    config_version, model, provider, deployment, vendor_model, input_uncached_tokens, cache_read_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, tokens_estimated, usage_raw, cost, corrects,
    error_class, issued_at, started_at, first_token_at, ended_at, lane, task_type, application, `user`,
    session_id, purpose, experiment_key, workflow_id, metadata, kafka_topic, kafka_partition, kafka_offset,
    kafka_timestamp, inserted_at, dateDiff('millisecond', issued_at, started_at) AS queue_ms,
    dateDiff('millisecond', started_at, first_token_at) AS first_token_ms,
    dateDiff('millisecond', started_at, ended_at) AS call_ms
FROM {database}.usage
COMMENT 'Tokens and cost of each settled attempt, and each correction beside the row that it replaces: for auditors, not for sums.';

ALTER TABLE {analytics}.usage_all
    COMMENT COLUMN queue_ms 'Milliseconds from the issue of the call task to the call. NULL: no call.',
    COMMENT COLUMN first_token_ms 'Milliseconds from the call to the first token. NULL: none came.',
    COMMENT COLUMN call_ms 'Milliseconds from the call to its end. NULL: no call.';

CREATE OR REPLACE VIEW {analytics}.attempts SQL SECURITY INVOKER AS
SELECT
    tenant, request_id, attempt, attempt_id, `try`, phase, at, must_end_by, model, deployment, worker,
    call_topic, call_partition, call_offset, kafka_topic, kafka_partition, kafka_offset, kafka_timestamp,
    inserted_at
FROM {database}.attempts
COMMENT 'The attempt journal: what a call worker wrote before and after each provider call.';

CREATE OR REPLACE VIEW {analytics}.decisions SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, request_id, decided_at, action, attempt, config_version, model, candidates, rule, why,
    reason, problems, worst_case_cost, not_before, accepted_at, lane, task_type, application, `user`,
    session_id, purpose, data_classes, metadata, kafka_topic, kafka_partition, kafka_offset, kafka_timestamp,
    inserted_at
FROM {database}.decisions
COMMENT 'Which model an attempt went to, among which, and why: one row for each acceptance and each further attempt.';

CREATE OR REPLACE VIEW {analytics}.audit SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, action, actor, at, config_version, sequence, previous_hash, request_id, attempt, model,
    status, reason, details, accepted_at, lane, task_type, application, `user`, session_id, purpose,
    data_classes, metadata, kafka_topic, kafka_partition, kafka_offset, kafka_timestamp, inserted_at
FROM {database}.audit
COMMENT 'Decisions and operators'' actions, chained by hash within each partition of the topic.';

CREATE OR REPLACE VIEW {analytics}.feedback SQL SECURITY INVOKER AS
SELECT
    tenant, request_id, at, score, label, comment, source, metadata, kafka_topic, kafka_partition,
    kafka_offset, kafka_timestamp, inserted_at
FROM {database}.feedback
COMMENT 'Judgements of results, as they were published. One request may have several.';

CREATE OR REPLACE VIEW {analytics}.config_versions SQL SECURITY INVOKER AS
SELECT
    config_version,
    minOrNullIf(c.at, event = 'published') AS published_at,
    argMaxIf(c.content, c.kafka_offset, event = 'published') AS content,
    argMaxIf(c.content_matches, c.kafka_offset, event = 'published') AS content_matches,
    countIf(event = 'activated') AS activations,
    minOrNullIf(c.at, event = 'activated') AS first_activated_at,
    maxOrNullIf(c.at, event = 'activated') AS last_activated_at,
    toBool(config_version = (SELECT argMax(config_version, kafka_offset) FROM {database}.config_versions
        WHERE event = 'activated')) AS is_active
FROM {database}.config_versions AS c
GROUP BY config_version
COMMENT 'One row for each version of the configuration.';

ALTER TABLE {analytics}.config_versions
    COMMENT COLUMN published_at 'When its content was first published. NULL: before the topic remembers.',
    COMMENT COLUMN content 'The configuration, a JSON text. Secrets stand in it as references, anything else in their place as ***.',
    COMMENT COLUMN activations 'How often it came into force.',
    COMMENT COLUMN first_activated_at 'When it first came into force. NULL: never.',
    COMMENT COLUMN last_activated_at 'When it last came into force. NULL: never.',
    COMMENT COLUMN is_active 'Whether it is in force.';

CREATE OR REPLACE VIEW {analytics}.config_activations SQL SECURITY INVOKER AS
SELECT
    config_version,
    c.at AS active_from,
    leadInFrame(toNullable(c.at)) OVER (ORDER BY c.kafka_offset ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
        AS active_until
FROM {database}.config_versions AS c
WHERE event = 'activated'
COMMENT 'One row for each time that a version of the configuration came into force.';

ALTER TABLE {analytics}.config_activations
    COMMENT COLUMN active_from 'When it came into force.',
    COMMENT COLUMN active_until 'When another took its place. NULL: it is in force.';

CREATE OR REPLACE VIEW {analytics}.dead_letters SQL SECURITY INVOKER AS
SELECT
    id, kind, stage, reason, message, at, source_topic, source_partition, source_offset, source_timestamp,
    `key`, value, headers, claimed_tenant, request_id, retention_days, kafka_topic, kafka_partition,
    kafka_offset, kafka_timestamp, inserted_at
FROM {database}.dead_letters
WHERE (kafka_topic, kafka_partition, kafka_offset) IN
    (SELECT argMin((kafka_topic, kafka_partition, kafka_offset), (kafka_partition, kafka_offset)) FROM {database}.dead_letters GROUP BY id)
COMMENT 'Events that could not be processed, with their original bytes: one row for each, also where a crash had its letter published twice.';
