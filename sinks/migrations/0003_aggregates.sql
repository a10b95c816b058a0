-- What is counted by minute and by day, and the views that read it.
-- Statements end in a semicolon at the end of a line; {database} and {analytics} are databases. Each can be run again.
--
-- The sums are projections: they lie in the parts of the rows that they sum up and come and go with them, so that they
-- always agree with the rows, whatever crashes, comes late, is deleted or moved. ClickHouse takes them by itself for a
-- query that groups and filters by what they are keyed by, and the rows for any other. Materialized views drifted from
-- their table with each insert that a kill had interrupted between the two (docs/decisions.md).
-- Tenants come first in their keys too: what is asked of one tenant reads little of them.
-- Latencies lie in the sums by day only: in those by minute they would double what these cost an insert, and save little.
-- CPU of an insert of 650 rows of usage, in turns: 15 ms without sums, 20 with those by day, 23 with both; merges included
-- 22, 30 and 37. On disk 6 % and 10 % of a table of 10M rows in three months.

-- Rows may be deleted by ALTER TABLE ... DELETE, which makes the sums of their parts anew. DELETE FROM is refused, as it
-- is by default (lightweight_mutation_projection_mode): with 'rebuild', a later UPDATE summed the deleted rows up again.

-- Of 10M rows 99.9 % hold 0 in both: 0.2 MB each. Only attempts that were settled as unknown are ever replaced.
ALTER TABLE {database}.usage
    ADD COLUMN IF NOT EXISTS experiment_arm LowCardinality(String) DEFAULT metadata['experiment_arm']
        COMMENT 'Arm of the experiment: the entry experiment_arm of the metadata; empty where there is none.' CODEC(ZSTD(1)) AFTER experiment_key,
    ADD COLUMN IF NOT EXISTS correctable UInt64
        MATERIALIZED if(status = 'unknown', sipHash64(event_id, accepted_at), 0)
        COMMENT 'Hash of event id and acceptance where a correction may yet replace this row; 0 where none can.' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS correction UInt64
        MATERIALIZED if(corrects != '', sipHash64(corrects, accepted_at), 0)
        COMMENT 'What correctable is in the row that this one replaces; 0 where it replaces none.' CODEC(ZSTD(1)),
    ADD PROJECTION IF NOT EXISTS by_day
    (
        SELECT
            tenant, toDate(recorded_at), application, model, provider, task_type, experiment_arm, lane, status,
            error_class, correctable, correction,
            count(), sum(tries), sum(input_uncached_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
            sum(output_tokens), sum(reasoning_tokens), count(output_tokens), countIf(tokens_estimated),
            countIf(cache_read_tokens > 0), count(cache_read_tokens), sum(cost), count(cost),
            quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', issued_at, started_at)),
                isNotNull(dateDiff('millisecond', issued_at, started_at))),
            quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', started_at, first_token_at)),
                isNotNull(dateDiff('millisecond', started_at, first_token_at))),
            quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', started_at, ended_at)),
                isNotNull(dateDiff('millisecond', started_at, ended_at)))
        GROUP BY
            tenant, toDate(recorded_at), application, model, provider, task_type, experiment_arm, lane, status,
            error_class, correctable, correction
    ),
    ADD PROJECTION IF NOT EXISTS by_minute
    (
        SELECT
            tenant, toStartOfMinute(recorded_at), application, model, provider, task_type, experiment_arm, lane,
            status, error_class, correctable, correction,
            count(), sum(tries), sum(input_uncached_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
            sum(output_tokens), sum(reasoning_tokens), count(output_tokens), countIf(tokens_estimated),
            countIf(cache_read_tokens > 0), count(cache_read_tokens), sum(cost), count(cost)
        GROUP BY
            tenant, toStartOfMinute(recorded_at), application, model, provider, task_type, experiment_arm, lane,
            status, error_class, correctable, correction
    );

ALTER TABLE {database}.results
    ADD COLUMN IF NOT EXISTS experiment_arm LowCardinality(String) DEFAULT metadata['experiment_arm']
        COMMENT 'Arm of the experiment: the entry experiment_arm of the metadata; empty where there is none.' CODEC(ZSTD(1)) AFTER experiment_key,
    ADD PROJECTION IF NOT EXISTS by_day
    (
        SELECT
            tenant, toDate(completed_at), application, model, provider, task_type, experiment_arm, lane, status,
            error_class,
            count(), sum(attempts), countIf(attempts > 1),
            quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', issued_at, started_at)),
                isNotNull(dateDiff('millisecond', issued_at, started_at))),
            quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', started_at, first_token_at)),
                isNotNull(dateDiff('millisecond', started_at, first_token_at))),
            quantileBFloat16State(dateDiff('millisecond', accepted_at, completed_at))
        GROUP BY
            tenant, toDate(completed_at), application, model, provider, task_type, experiment_arm, lane, status,
            error_class
    ),
    ADD PROJECTION IF NOT EXISTS by_minute
    (
        SELECT
            tenant, toStartOfMinute(completed_at), application, model, provider, task_type, experiment_arm, lane,
            status, error_class,
            count(), sum(attempts), countIf(attempts > 1)
        GROUP BY
            tenant, toStartOfMinute(completed_at), application, model, provider, task_type, experiment_arm, lane,
            status, error_class
    );

-- The sums of rows that were there before; where there are many it goes on in the background, and queries read the rows
-- until then.
ALTER TABLE {database}.usage
    MATERIALIZE COLUMN experiment_arm,
    MATERIALIZE COLUMN correctable,
    MATERIALIZE COLUMN correction,
    MATERIALIZE PROJECTION by_day,
    MATERIALIZE PROJECTION by_minute
SETTINGS mutations_sync = 0;

ALTER TABLE {database}.results
    MATERIALIZE COLUMN experiment_arm,
    MATERIALIZE PROJECTION by_day,
    MATERIALIZE PROJECTION by_minute
SETTINGS mutations_sync = 0;

-- A set made of a scalar subquery is a constant: ClickHouse takes the sums for a query on such a view, which it
-- doesn't where the view itself asks IN (SELECT ...). Inside, GROUP BY takes them for the corrections too.
-- Nor would it take them for count(cost) alone, once that is made a count of the column's marks of NULL: so the views
-- leave that out (optimize_functions_to_subcolumns).
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
    experiment_arm, toDate(recorded_at) AS day, toStartOfMinute(recorded_at) AS minute
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
    experiment_arm, toDate(recorded_at) AS day, toStartOfMinute(recorded_at) AS minute
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
    experiment_arm, toDate(completed_at) AS day, toStartOfMinute(completed_at) AS minute
FROM {database}.results
COMMENT 'One row for each terminal result: exactly one for each accepted request. Texts are in bodies.';

ALTER TABLE {analytics}.results
    COMMENT COLUMN total_ms 'Milliseconds from acceptance to the end.',
    COMMENT COLUMN queue_ms 'Milliseconds from the issue of the call task to the call. NULL: no call.',
    COMMENT COLUMN first_token_ms 'Milliseconds from the call to the first token. NULL: none came.',
    COMMENT COLUMN call_ms 'Milliseconds from the call to its end. NULL: no call.',
    COMMENT COLUMN day 'UTC day in which the request ended.',
    COMMENT COLUMN minute 'Minute in which the request ended.';

CREATE OR REPLACE VIEW {analytics}.usage_per_minute SQL SECURITY INVOKER AS
SELECT
    tenant, toStartOfMinute(u.recorded_at) AS minute, application, model, provider, task_type, experiment_arm, lane, status,
    error_class,
    count() AS attempts, sum(u.tries) AS tries, sum(u.input_uncached_tokens) AS input_uncached_tokens,
    sum(u.cache_read_tokens) AS cache_read_tokens, sum(u.cache_write_tokens) AS cache_write_tokens,
    sum(u.output_tokens) AS output_tokens, sum(u.reasoning_tokens) AS reasoning_tokens,
    count(u.output_tokens) AS count_with_tokens, countIf(u.tokens_estimated) AS count_estimated,
    countIf(u.cache_read_tokens > 0) AS cache_hits, count(u.cache_read_tokens) AS count_with_cache,
    sum(u.cost) AS cost, count(u.cost) AS count_with_cost,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', u.issued_at, u.started_at)),
        isNotNull(dateDiff('millisecond', u.issued_at, u.started_at))) AS queue_ms,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', u.started_at, u.first_token_at)),
        isNotNull(dateDiff('millisecond', u.started_at, u.first_token_at))) AS first_token_ms,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', u.started_at, u.ended_at)),
        isNotNull(dateDiff('millisecond', u.started_at, u.ended_at))) AS call_ms
FROM {database}.usage AS u
WHERE correctable NOT IN arrayDistinct((
    SELECT groupArray(correction)
    FROM (SELECT correction FROM {database}.usage WHERE correction != 0 GROUP BY correction)
))
GROUP BY
    tenant, minute, application, model, provider, task_type, experiment_arm, lane, status,
    error_class
SETTINGS optimize_functions_to_subcolumns = 0
COMMENT 'Attempts, tokens, cost and latencies by minute, of what analytics.usage holds. Sum the sums up, merge the latencies: quantileBFloat16Merge(0.95)(call_ms).';

ALTER TABLE {analytics}.usage_per_minute
    COMMENT COLUMN minute 'Minute in which the attempts were settled.',
    COMMENT COLUMN status 'Status of the attempts'' outcomes.',
    COMMENT COLUMN attempts 'Attempts settled.',
    COMMENT COLUMN tries 'Provider calls made within them.',
    COMMENT COLUMN input_uncached_tokens 'Sum of the input tokens billed in full. NULL: none is known.',
    COMMENT COLUMN cache_read_tokens 'Sum of the input tokens read from the vendor cache. NULL: none is known.',
    COMMENT COLUMN cache_write_tokens 'Sum of the input tokens written to the vendor cache. NULL: none is known.',
    COMMENT COLUMN output_tokens 'Sum of the output tokens, reasoning included. NULL: none is known.',
    COMMENT COLUMN reasoning_tokens 'Sum of the output tokens spent on reasoning. NULL: none is known.',
    COMMENT COLUMN count_with_tokens 'Attempts whose output tokens are known.',
    COMMENT COLUMN count_estimated 'Attempts of which a token count is an estimate, not the vendor''s.',
    COMMENT COLUMN cache_hits 'Attempts that read tokens from the vendor cache.',
    COMMENT COLUMN count_with_cache 'Attempts of which is known whether they did.',
    COMMENT COLUMN cost 'Sum of US dollars. NULL: none is known.',
    COMMENT COLUMN count_with_cost 'Attempts whose cost is known.',
    COMMENT COLUMN queue_ms 'State of quantileBFloat16 over the milliseconds from the issue of the call task to the call.',
    COMMENT COLUMN first_token_ms 'State of quantileBFloat16 over the milliseconds from the call to the first token.',
    COMMENT COLUMN call_ms 'State of quantileBFloat16 over the milliseconds from the call to its end.';

CREATE OR REPLACE VIEW {analytics}.requests_per_minute SQL SECURITY INVOKER AS
SELECT
    tenant, toStartOfMinute(r.completed_at) AS minute, application, model, provider, task_type, experiment_arm, lane, status,
    error_class,
    count() AS requests, sum(r.attempts) AS attempts, countIf(r.attempts > 1) AS retried,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', r.issued_at, r.started_at)),
        isNotNull(dateDiff('millisecond', r.issued_at, r.started_at))) AS queue_ms,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', r.started_at, r.first_token_at)),
        isNotNull(dateDiff('millisecond', r.started_at, r.first_token_at))) AS first_token_ms,
    quantileBFloat16State(dateDiff('millisecond', r.accepted_at, r.completed_at)) AS total_ms
FROM {database}.results AS r
GROUP BY
    tenant, minute, application, model, provider, task_type, experiment_arm, lane, status,
    error_class
COMMENT 'Ended requests, errors and latencies by minute, of what analytics.results holds. Sum the sums up, merge the latencies: quantileBFloat16Merge(0.95)(total_ms).';

ALTER TABLE {analytics}.requests_per_minute
    COMMENT COLUMN minute 'Minute in which the requests ended.',
    COMMENT COLUMN requests 'Requests that ended.',
    COMMENT COLUMN attempts 'Attempts issued for them.',
    COMMENT COLUMN retried 'Requests that took more than one attempt.',
    COMMENT COLUMN queue_ms 'State of quantileBFloat16 over the milliseconds from the issue of the last call task to the call.',
    COMMENT COLUMN first_token_ms 'State of quantileBFloat16 over the milliseconds from that call to the first token.',
    COMMENT COLUMN total_ms 'State of quantileBFloat16 over the milliseconds from acceptance to the end.';

CREATE OR REPLACE VIEW {analytics}.usage_per_day SQL SECURITY INVOKER AS
SELECT
    tenant, toDate(u.recorded_at) AS day, application, model, provider, task_type, experiment_arm, lane, status,
    error_class,
    count() AS attempts, sum(u.tries) AS tries, sum(u.input_uncached_tokens) AS input_uncached_tokens,
    sum(u.cache_read_tokens) AS cache_read_tokens, sum(u.cache_write_tokens) AS cache_write_tokens,
    sum(u.output_tokens) AS output_tokens, sum(u.reasoning_tokens) AS reasoning_tokens,
    count(u.output_tokens) AS count_with_tokens, countIf(u.tokens_estimated) AS count_estimated,
    countIf(u.cache_read_tokens > 0) AS cache_hits, count(u.cache_read_tokens) AS count_with_cache,
    sum(u.cost) AS cost, count(u.cost) AS count_with_cost,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', u.issued_at, u.started_at)),
        isNotNull(dateDiff('millisecond', u.issued_at, u.started_at))) AS queue_ms,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', u.started_at, u.first_token_at)),
        isNotNull(dateDiff('millisecond', u.started_at, u.first_token_at))) AS first_token_ms,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', u.started_at, u.ended_at)),
        isNotNull(dateDiff('millisecond', u.started_at, u.ended_at))) AS call_ms
FROM {database}.usage AS u
WHERE correctable NOT IN arrayDistinct((
    SELECT groupArray(correction)
    FROM (SELECT correction FROM {database}.usage WHERE correction != 0 GROUP BY correction)
))
GROUP BY
    tenant, day, application, model, provider, task_type, experiment_arm, lane, status,
    error_class
SETTINGS optimize_functions_to_subcolumns = 0
COMMENT 'Attempts, tokens, cost and latencies by day, of what analytics.usage holds. Sum the sums up, merge the latencies: quantileBFloat16Merge(0.95)(call_ms).';

ALTER TABLE {analytics}.usage_per_day
    COMMENT COLUMN day 'UTC day in which the attempts were settled.',
    COMMENT COLUMN status 'Status of the attempts'' outcomes.',
    COMMENT COLUMN attempts 'Attempts settled.',
    COMMENT COLUMN tries 'Provider calls made within them.',
    COMMENT COLUMN input_uncached_tokens 'Sum of the input tokens billed in full. NULL: none is known.',
    COMMENT COLUMN cache_read_tokens 'Sum of the input tokens read from the vendor cache. NULL: none is known.',
    COMMENT COLUMN cache_write_tokens 'Sum of the input tokens written to the vendor cache. NULL: none is known.',
    COMMENT COLUMN output_tokens 'Sum of the output tokens, reasoning included. NULL: none is known.',
    COMMENT COLUMN reasoning_tokens 'Sum of the output tokens spent on reasoning. NULL: none is known.',
    COMMENT COLUMN count_with_tokens 'Attempts whose output tokens are known.',
    COMMENT COLUMN count_estimated 'Attempts of which a token count is an estimate, not the vendor''s.',
    COMMENT COLUMN cache_hits 'Attempts that read tokens from the vendor cache.',
    COMMENT COLUMN count_with_cache 'Attempts of which is known whether they did.',
    COMMENT COLUMN cost 'Sum of US dollars. NULL: none is known.',
    COMMENT COLUMN count_with_cost 'Attempts whose cost is known.',
    COMMENT COLUMN queue_ms 'State of quantileBFloat16 over the milliseconds from the issue of the call task to the call.',
    COMMENT COLUMN first_token_ms 'State of quantileBFloat16 over the milliseconds from the call to the first token.',
    COMMENT COLUMN call_ms 'State of quantileBFloat16 over the milliseconds from the call to its end.';

CREATE OR REPLACE VIEW {analytics}.requests_per_day SQL SECURITY INVOKER AS
SELECT
    tenant, toDate(r.completed_at) AS day, application, model, provider, task_type, experiment_arm, lane, status,
    error_class,
    count() AS requests, sum(r.attempts) AS attempts, countIf(r.attempts > 1) AS retried,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', r.issued_at, r.started_at)),
        isNotNull(dateDiff('millisecond', r.issued_at, r.started_at))) AS queue_ms,
    quantileBFloat16StateIf(assumeNotNull(dateDiff('millisecond', r.started_at, r.first_token_at)),
        isNotNull(dateDiff('millisecond', r.started_at, r.first_token_at))) AS first_token_ms,
    quantileBFloat16State(dateDiff('millisecond', r.accepted_at, r.completed_at)) AS total_ms
FROM {database}.results AS r
GROUP BY
    tenant, day, application, model, provider, task_type, experiment_arm, lane, status,
    error_class
COMMENT 'Ended requests, errors and latencies by day, of what analytics.results holds. Sum the sums up, merge the latencies: quantileBFloat16Merge(0.95)(total_ms).';

ALTER TABLE {analytics}.requests_per_day
    COMMENT COLUMN day 'UTC day in which the requests ended.',
    COMMENT COLUMN requests 'Requests that ended.',
    COMMENT COLUMN attempts 'Attempts issued for them.',
    COMMENT COLUMN retried 'Requests that took more than one attempt.',
    COMMENT COLUMN queue_ms 'State of quantileBFloat16 over the milliseconds from the issue of the last call task to the call.',
    COMMENT COLUMN first_token_ms 'State of quantileBFloat16 over the milliseconds from that call to the first token.',
    COMMENT COLUMN total_ms 'State of quantileBFloat16 over the milliseconds from acceptance to the end.';
