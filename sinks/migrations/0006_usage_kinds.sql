-- Kinds of usage that providers tell apart, the basis of a cost, and the price that held.
-- Statements end in a semicolon at the end of a line; {database} and {analytics} are databases. Each can be run again.
--
-- Kinds are Nullable like all counts of tokens: a vendor that doesn't tell them apart isn't one that had none. Rows of
-- before have NULL and empty texts. Texts of few values are LowCardinality. The sums by minute and by day leave the kinds
-- out: each would make every insert dearer, and they are parts of what is summed already.
ALTER TABLE {database}.usage
    ADD COLUMN IF NOT EXISTS cache_write_1h_tokens Nullable(UInt64) COMMENT 'The part of cache_write_tokens that the cache keeps for an hour. NULL: unknown.' CODEC(ZSTD(1)) AFTER usage_raw,
    ADD COLUMN IF NOT EXISTS tool_input_tokens Nullable(UInt64) COMMENT 'The part of the input that is tools: definitions, results. NULL: unknown.' CODEC(ZSTD(1)) AFTER cache_write_1h_tokens,
    ADD COLUMN IF NOT EXISTS image_input_tokens Nullable(UInt64) COMMENT 'The part of the input that is images. NULL: unknown.' CODEC(ZSTD(1)) AFTER tool_input_tokens,
    ADD COLUMN IF NOT EXISTS audio_input_tokens Nullable(UInt64) COMMENT 'The part of the input that is audio. NULL: unknown.' CODEC(ZSTD(1)) AFTER image_input_tokens,
    ADD COLUMN IF NOT EXISTS audio_output_tokens Nullable(UInt64) COMMENT 'The part of the output that is audio. NULL: unknown.' CODEC(ZSTD(1)) AFTER audio_input_tokens,
    ADD COLUMN IF NOT EXISTS service_tier LowCardinality(String) COMMENT 'The vendor''s service tier that served the call; empty where it didn''t tell.' CODEC(ZSTD(1)) AFTER audio_output_tokens,
    ADD COLUMN IF NOT EXISTS cost_basis LowCardinality(String) COMMENT 'What the cost was made of: per_token, per_compute_second or amortised_hour; worst_case: it is what was reserved. Empty: no cost, or no call.' CODEC(ZSTD(1)) AFTER cost,
    ADD COLUMN IF NOT EXISTS price_version LowCardinality(String) COMMENT 'The price that held when the call began: its source, its first day, the service tier. Empty: no price.' CODEC(ZSTD(1)) AFTER cost_basis;

ALTER TABLE {database}.results
    ADD COLUMN IF NOT EXISTS cache_write_1h_tokens Nullable(UInt64) COMMENT 'The part of cache_write_tokens that the cache keeps for an hour. NULL: unknown.' CODEC(ZSTD(1)) AFTER usage_raw,
    ADD COLUMN IF NOT EXISTS tool_input_tokens Nullable(UInt64) COMMENT 'The part of the input that is tools: definitions, results. NULL: unknown.' CODEC(ZSTD(1)) AFTER cache_write_1h_tokens,
    ADD COLUMN IF NOT EXISTS image_input_tokens Nullable(UInt64) COMMENT 'The part of the input that is images. NULL: unknown.' CODEC(ZSTD(1)) AFTER tool_input_tokens,
    ADD COLUMN IF NOT EXISTS audio_input_tokens Nullable(UInt64) COMMENT 'The part of the input that is audio. NULL: unknown.' CODEC(ZSTD(1)) AFTER image_input_tokens,
    ADD COLUMN IF NOT EXISTS audio_output_tokens Nullable(UInt64) COMMENT 'The part of the output that is audio. NULL: unknown.' CODEC(ZSTD(1)) AFTER audio_input_tokens,
    ADD COLUMN IF NOT EXISTS service_tier LowCardinality(String) COMMENT 'The vendor''s service tier that served the call; empty where it didn''t tell.' CODEC(ZSTD(1)) AFTER audio_output_tokens,
    ADD COLUMN IF NOT EXISTS cost_basis LowCardinality(String) COMMENT 'What the cost was made of: per_token, per_compute_second or amortised_hour; worst_case: it is what was reserved. Empty: no cost, or no call.' CODEC(ZSTD(1)) AFTER cost,
    ADD COLUMN IF NOT EXISTS price_version LowCardinality(String) COMMENT 'The price that held when the call began: its source, its first day, the service tier. Empty: no price.' CODEC(ZSTD(1)) AFTER cost_basis;

CREATE OR REPLACE VIEW {analytics}.usage SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, request_id, attempt, attempt_id, tries, status, accepted_at, recorded_at,
    config_version, model, provider, deployment, vendor_model, input_uncached_tokens, cache_read_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, tokens_estimated, usage_raw, cost, corrects,
    error_class, issued_at, started_at, first_token_at, ended_at, lane, task_type, application, `user`,
    session_id, purpose, experiment_key, workflow_id, metadata, kafka_topic, kafka_partition, kafka_offset,
    kafka_timestamp, inserted_at, dateDiff('millisecond', issued_at, started_at) AS queue_ms,
    dateDiff('millisecond', started_at, first_token_at) AS first_token_ms,
    dateDiff('millisecond', started_at, ended_at) AS call_ms,
    experiment_arm, toDate(recorded_at) AS day, toStartOfMinute(recorded_at) AS minute,
    cache_write_1h_tokens, tool_input_tokens, image_input_tokens, audio_input_tokens, audio_output_tokens,
    service_tier, cost_basis, price_version
FROM {database}.usage
WHERE correctable NOT IN arrayDistinct((
    SELECT groupArray(correction)
    FROM (SELECT correction FROM {database}.usage WHERE correction != 0 GROUP BY correction)
))
COMMENT 'Tokens and cost of each settled attempt, as they are known by now: a row that a correction replaces is left out.';

ALTER TABLE {analytics}.usage
    COMMENT COLUMN queue_ms 'Milliseconds from the issue of the call task to the call. NULL: no call.',
    COMMENT COLUMN first_token_ms 'Milliseconds from the call to the first token. NULL: none came.',
    COMMENT COLUMN call_ms 'Milliseconds from the call to its end. NULL: no call.',
    COMMENT COLUMN day 'UTC day in which the attempt was settled.',
    COMMENT COLUMN minute 'Minute in which the attempt was settled.';

CREATE OR REPLACE VIEW {analytics}.usage_all SQL SECURITY INVOKER AS
SELECT
    event_id, tenant, request_id, attempt, attempt_id, tries, status, accepted_at, recorded_at,
    config_version, model, provider, deployment, vendor_model, input_uncached_tokens, cache_read_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, tokens_estimated, usage_raw, cost, corrects,
    error_class, issued_at, started_at, first_token_at, ended_at, lane, task_type, application, `user`,
    session_id, purpose, experiment_key, workflow_id, metadata, kafka_topic, kafka_partition, kafka_offset,
    kafka_timestamp, inserted_at, dateDiff('millisecond', issued_at, started_at) AS queue_ms,
    dateDiff('millisecond', started_at, first_token_at) AS first_token_ms,
    dateDiff('millisecond', started_at, ended_at) AS call_ms,
    experiment_arm, toDate(recorded_at) AS day, toStartOfMinute(recorded_at) AS minute,
    cache_write_1h_tokens, tool_input_tokens, image_input_tokens, audio_input_tokens, audio_output_tokens,
    service_tier, cost_basis, price_version
FROM {database}.usage
COMMENT 'Tokens and cost of each settled attempt, and each correction beside the row that it replaces: for auditors, not for sums.';

ALTER TABLE {analytics}.usage_all
    COMMENT COLUMN queue_ms 'Milliseconds from the issue of the call task to the call. NULL: no call.',
    COMMENT COLUMN first_token_ms 'Milliseconds from the call to the first token. NULL: none came.',
    COMMENT COLUMN call_ms 'Milliseconds from the call to its end. NULL: no call.',
    COMMENT COLUMN day 'UTC day in which the attempt was settled.',
    COMMENT COLUMN minute 'Minute in which the attempt was settled.';

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
    dateDiff('millisecond', started_at, ended_at) AS call_ms,
    experiment_arm, toDate(completed_at) AS day, toStartOfMinute(completed_at) AS minute,
    cache_write_1h_tokens, tool_input_tokens, image_input_tokens, audio_input_tokens, audio_output_tokens,
    service_tier, cost_basis, price_version
FROM {database}.results
COMMENT 'One row for each terminal result: exactly one for each accepted request. Texts are in bodies.';

ALTER TABLE {analytics}.results
    COMMENT COLUMN total_ms 'Milliseconds from acceptance to the end.',
    COMMENT COLUMN queue_ms 'Milliseconds from the issue of the call task to the call. NULL: no call.',
    COMMENT COLUMN first_token_ms 'Milliseconds from the call to the first token. NULL: none came.',
    COMMENT COLUMN call_ms 'Milliseconds from the call to its end. NULL: no call.',
    COMMENT COLUMN day 'UTC day in which the request ended.',
    COMMENT COLUMN minute 'Minute in which the request ended.';
