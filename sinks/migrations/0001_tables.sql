-- The tables of the sink. Statements end in a semicolon at the end of a line; {database} is the database's name.
-- Each can be run again. Order keys begin with the tenant; a NULL means unknown, an empty string not given.
-- Times and offsets are delta coded, since they rise with the order of insertion; texts take a stronger ZSTD.
-- The minmax index serves the reads by offset of a repeated intent: offsets rise with time in each part.
-- The window is how many insert tokens a table remembers; it must cover the inserts of one lease (60 s).
-- inserted_at refuses a row whose lease is over: that bounds how late the request of a stopped worker may come.

CREATE TABLE IF NOT EXISTS {database}.sink_ledger
(
    sequence UInt64 COMMENT 'Number of the version; the first writer of a number wins it.' CODEC(Delta(8), ZSTD(1)),
    id String COMMENT 'Id of this version: tells its writer that it won.' CODEC(ZSTD(1)),
    worker LowCardinality(String) COMMENT 'Worker that wrote it.' CODEC(ZSTD(1)),
    state String COMMENT 'Last range of each topic-partition and open intents, a JSON text.' CODEC(ZSTD(3)),
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
COMMENT 'The ledger of the sink: how far each topic-partition has come in, version by version.';

CREATE TABLE IF NOT EXISTS {database}.requests
(
    event_id String COMMENT 'Deterministic id of the event: the same event made again after a crash has the same.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Tenant.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, unique within its tenant.' CODEC(ZSTD(1)),
    accepted_at DateTime64(3, 'UTC') COMMENT 'When the request was accepted (log append time of its event).' CODEC(Delta(8), ZSTD(1)),
    config_version LowCardinality(String) COMMENT 'Content hash of the configuration that held.' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'Status decided at acceptance; empty where the request went on.' CODEC(ZSTD(1)),
    reason String COMMENT 'Why.' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'Model chosen first; empty where none was.' CODEC(ZSTD(1)),
    candidates Array(LowCardinality(String)) COMMENT 'Models that may serve it, best first.' CODEC(ZSTD(1)),
    why String COMMENT 'Why this model was chosen.' CODEC(ZSTD(1)),
    lane LowCardinality(String) COMMENT 'Lane: interactive, standard or batch.' CODEC(ZSTD(1)),
    task_type LowCardinality(String) COMMENT 'Type of task, as classified.' CODEC(ZSTD(1)),
    application LowCardinality(String) COMMENT 'Application that asked; empty where not given.' CODEC(ZSTD(1)),
    `user` String COMMENT 'User on whose behalf it asked; empty where not given.' CODEC(ZSTD(1)),
    session_id String COMMENT 'Session of the caller; empty where not given.' CODEC(ZSTD(1)),
    purpose LowCardinality(String) COMMENT 'Purpose stated by the caller; empty where not given.' CODEC(ZSTD(1)),
    data_classes Array(LowCardinality(String)) COMMENT 'Classes of data that the request carries.' CODEC(ZSTD(1)),
    idempotency_key String COMMENT 'Key of deduplication; empty where the request id serves.' CODEC(ZSTD(1)),
    deadline_at Nullable(DateTime64(3, 'UTC')) COMMENT 'Deadline. NULL: out of the range that this column holds (see details).' CODEC(Delta(8), ZSTD(1)),
    input_tokens_estimate Nullable(UInt64) COMMENT 'Estimate of its input tokens. NULL: none made.' CODEC(ZSTD(1)),
    worst_case_cost Nullable(Decimal(18, 9)) COMMENT 'US dollars reserved at most for the first attempt. NULL: unpriced.' CODEC(ZSTD(1)),
    problems Array(LowCardinality(String)) COMMENT 'Codes of all problems of a rejected request.' CODEC(ZSTD(1)),
    source_topic LowCardinality(String) COMMENT 'Topic of the request event itself.' CODEC(ZSTD(1)),
    source_partition Nullable(Int32) COMMENT 'Its partition. NULL: unknown.' CODEC(ZSTD(1)),
    source_offset Nullable(Int64) COMMENT 'Its offset. NULL: unknown.' CODEC(Delta(8), ZSTD(1)),
    details String COMMENT 'All that was recorded at acceptance, a JSON text.' CODEC(ZSTD(3)),
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
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (tenant, accepted_at, request_id)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each accepted request, rejected ones included, as it was when it was accepted.';

CREATE TABLE IF NOT EXISTS {database}.results
(
    event_id String COMMENT 'Deterministic id of the event: the same event made again after a crash has the same.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Tenant.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, unique within its tenant.' CODEC(ZSTD(1)),
    accepted_at DateTime64(3, 'UTC') COMMENT 'When the request was accepted (log append time of its event).' CODEC(Delta(8), ZSTD(1)),
    completed_at DateTime64(3, 'UTC') COMMENT 'When the request ended.' CODEC(Delta(8), ZSTD(1)),
    config_version LowCardinality(String) COMMENT 'Content hash of the configuration that held.' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'succeeded, failed, rejected, expired or cancelled.' CODEC(ZSTD(1)),
    error_class LowCardinality(String) COMMENT 'Class of the error; empty where it succeeded.' CODEC(ZSTD(1)),
    error_message String COMMENT 'What went wrong and what to fix.' CODEC(ZSTD(1)),
    problems Array(LowCardinality(String)) COMMENT 'Codes of all problems of a rejected request.' CODEC(ZSTD(1)),
    finish_reason LowCardinality(String) COMMENT 'Why generation ended.' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'Id of the model in the configuration; empty where none was chosen.' CODEC(ZSTD(1)),
    provider LowCardinality(String) COMMENT 'Id of the provider; empty where no call was made.' CODEC(ZSTD(1)),
    deployment LowCardinality(String) COMMENT 'Deployment that answered; empty where no call was made.' CODEC(ZSTD(1)),
    vendor_model LowCardinality(String) COMMENT 'Name of the model at the vendor.' CODEC(ZSTD(1)),
    attempts UInt32 COMMENT 'Attempts issued.' CODEC(ZSTD(1)),
    input_uncached_tokens Nullable(UInt64) COMMENT 'Input tokens billed in full. NULL: unknown, never zero.' CODEC(ZSTD(1)),
    cache_read_tokens Nullable(UInt64) COMMENT 'Input tokens read from the vendor cache. NULL: unknown.' CODEC(ZSTD(1)),
    cache_write_tokens Nullable(UInt64) COMMENT 'Input tokens written to the vendor cache. NULL: unknown.' CODEC(ZSTD(1)),
    output_tokens Nullable(UInt64) COMMENT 'Output tokens, reasoning included. NULL: unknown.' CODEC(ZSTD(1)),
    reasoning_tokens Nullable(UInt64) COMMENT 'Output tokens spent on reasoning. NULL: unknown.' CODEC(ZSTD(1)),
    tokens_estimated Bool COMMENT 'True where a count is an estimate, not the vendor''s.' CODEC(ZSTD(1)),
    usage_raw String COMMENT 'The usage object of the vendor, a JSON text; empty where there was none.' CODEC(ZSTD(3)),
    cost Nullable(Decimal(18, 9)) COMMENT 'US dollars of the attempt that ended it; the cost of all attempts is in usage. NULL: unpriced or unknown.' CODEC(ZSTD(1)),
    issued_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the call task was issued. NULL: no call.' CODEC(Delta(8), ZSTD(1)),
    started_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the provider was called. NULL: no call.' CODEC(Delta(8), ZSTD(1)),
    first_token_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the first token came. NULL: none came.' CODEC(Delta(8), ZSTD(1)),
    ended_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the stage that reports ended. NULL: unknown.' CODEC(Delta(8), ZSTD(1)),
    lane LowCardinality(String) COMMENT 'Lane: interactive, standard or batch.' CODEC(ZSTD(1)),
    task_type LowCardinality(String) COMMENT 'Type of task, as classified.' CODEC(ZSTD(1)),
    application LowCardinality(String) COMMENT 'Application that asked; empty where not given.' CODEC(ZSTD(1)),
    `user` String COMMENT 'User on whose behalf it asked; empty where not given.' CODEC(ZSTD(1)),
    session_id String COMMENT 'Session of the caller; empty where not given.' CODEC(ZSTD(1)),
    purpose LowCardinality(String) COMMENT 'Purpose stated by the caller; empty where not given.' CODEC(ZSTD(1)),
    tags Array(String) COMMENT 'Tags of the request.' CODEC(ZSTD(1)),
    workflow_name LowCardinality(String) COMMENT 'Workflow; empty where none.' CODEC(ZSTD(1)),
    workflow_id String COMMENT 'Id of the workflow run; empty where none.' CODEC(ZSTD(1)),
    workflow_step LowCardinality(String) COMMENT 'Step of the workflow.' CODEC(ZSTD(1)),
    parent_request_id String COMMENT 'Request that made this one; empty where none.' CODEC(ZSTD(1)),
    experiment_key String COMMENT 'Experiment unit; empty where not given.' CODEC(ZSTD(1)),
    traceparent String COMMENT 'W3C trace context.' CODEC(ZSTD(1)),
    reply_topic LowCardinality(String) COMMENT 'Topic that got a copy; empty where none.' CODEC(ZSTD(1)),
    text_characters UInt32 COMMENT 'Length of the output text in characters.' CODEC(ZSTD(1)),
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
PARTITION BY toYYYYMM(completed_at)
ORDER BY (tenant, completed_at, request_id)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each terminal result: exactly one for each accepted request. Texts are in bodies.';

CREATE TABLE IF NOT EXISTS {database}.result_notices
(
    event_id String COMMENT 'Deterministic id of the event: the same event made again after a crash has the same.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Tenant.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, unique within its tenant.' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'duplicate or conflict.' CODEC(ZSTD(1)),
    original_request_id String COMMENT 'Request whose result counts.' CODEC(ZSTD(1)),
    accepted_at DateTime64(3, 'UTC') COMMENT 'When the request was accepted (log append time of its event).' CODEC(Delta(8), ZSTD(1)),
    noticed_at DateTime64(3, 'UTC') COMMENT 'When the notice was made.' CODEC(Delta(8), ZSTD(1)),
    config_version LowCardinality(String) COMMENT 'Content hash of the configuration that held.' CODEC(ZSTD(1)),
    error_message String COMMENT 'What went wrong and what to fix.' CODEC(ZSTD(1)),
    application LowCardinality(String) COMMENT 'Application that asked; empty where not given.' CODEC(ZSTD(1)),
    `user` String COMMENT 'User on whose behalf it asked; empty where not given.' CODEC(ZSTD(1)),
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
PARTITION BY toYYYYMM(noticed_at)
ORDER BY (tenant, noticed_at, request_id)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Notices to callers that are no results: repeats and conflicts of a request id or idempotency key.';

CREATE TABLE IF NOT EXISTS {database}.bodies
(
    tenant LowCardinality(String) COMMENT 'Tenant.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, unique within its tenant.' CODEC(ZSTD(1)),
    completed_at DateTime64(3, 'UTC') COMMENT 'When the request ended.' CODEC(Delta(8), ZSTD(1)),
    side LowCardinality(String) COMMENT 'output: what the model answered.' CODEC(ZSTD(1)),
    text String COMMENT 'The text, all text parts joined.' CODEC(ZSTD(3)),
    parts String COMMENT 'All parts as JSON where one of them is no text; else empty.' CODEC(ZSTD(3)),
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
PARTITION BY toYYYYMM(completed_at)
ORDER BY (tenant, completed_at, request_id)
TTL toDateTime(inserted_at) + toIntervalDay(30)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Texts of results, kept 30 days from their insertion.';

CREATE TABLE IF NOT EXISTS {database}.usage
(
    event_id String COMMENT 'Deterministic id of the event: the same event made again after a crash has the same.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Tenant.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, unique within its tenant.' CODEC(ZSTD(1)),
    attempt UInt32 COMMENT 'Number of the attempt, from 1.' CODEC(ZSTD(1)),
    attempt_id String COMMENT 'Id of the attempt, as the provider got it.' CODEC(ZSTD(1)),
    tries UInt32 COMMENT 'Provider calls made within the attempt.' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'Status of the attempt''s outcome.' CODEC(ZSTD(1)),
    accepted_at DateTime64(3, 'UTC') COMMENT 'When the request was accepted (log append time of its event).' CODEC(Delta(8), ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') COMMENT 'When the attempt was settled.' CODEC(Delta(8), ZSTD(1)),
    config_version LowCardinality(String) COMMENT 'Content hash of the configuration that held.' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'Id of the model in the configuration; empty where none was chosen.' CODEC(ZSTD(1)),
    provider LowCardinality(String) COMMENT 'Id of the provider; empty where no call was made.' CODEC(ZSTD(1)),
    deployment LowCardinality(String) COMMENT 'Deployment that answered; empty where no call was made.' CODEC(ZSTD(1)),
    vendor_model LowCardinality(String) COMMENT 'Name of the model at the vendor.' CODEC(ZSTD(1)),
    input_uncached_tokens Nullable(UInt64) COMMENT 'Input tokens billed in full. NULL: unknown, never zero.' CODEC(ZSTD(1)),
    cache_read_tokens Nullable(UInt64) COMMENT 'Input tokens read from the vendor cache. NULL: unknown.' CODEC(ZSTD(1)),
    cache_write_tokens Nullable(UInt64) COMMENT 'Input tokens written to the vendor cache. NULL: unknown.' CODEC(ZSTD(1)),
    output_tokens Nullable(UInt64) COMMENT 'Output tokens, reasoning included. NULL: unknown.' CODEC(ZSTD(1)),
    reasoning_tokens Nullable(UInt64) COMMENT 'Output tokens spent on reasoning. NULL: unknown.' CODEC(ZSTD(1)),
    tokens_estimated Bool COMMENT 'True where a count is an estimate, not the vendor''s.' CODEC(ZSTD(1)),
    usage_raw String COMMENT 'The usage object of the vendor, a JSON text; empty where there was none.' CODEC(ZSTD(3)),
    cost Nullable(Decimal(18, 9)) COMMENT 'US dollars. NULL: unpriced or unknown, never zero; count(cost) counts the known.' CODEC(ZSTD(1)),
    corrects String COMMENT 'Event id of the row that this one replaces; empty where it replaces none.' CODEC(ZSTD(1)),
    error_class LowCardinality(String) COMMENT 'Class of the error; empty where it succeeded.' CODEC(ZSTD(1)),
    issued_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the call task was issued. NULL: no call.' CODEC(Delta(8), ZSTD(1)),
    started_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the provider was called. NULL: no call.' CODEC(Delta(8), ZSTD(1)),
    first_token_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the first token came. NULL: none came.' CODEC(Delta(8), ZSTD(1)),
    ended_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the stage that reports ended. NULL: unknown.' CODEC(Delta(8), ZSTD(1)),
    lane LowCardinality(String) COMMENT 'Lane: interactive, standard or batch.' CODEC(ZSTD(1)),
    task_type LowCardinality(String) COMMENT 'Type of task, as classified.' CODEC(ZSTD(1)),
    application LowCardinality(String) COMMENT 'Application that asked; empty where not given.' CODEC(ZSTD(1)),
    `user` String COMMENT 'User on whose behalf it asked; empty where not given.' CODEC(ZSTD(1)),
    session_id String COMMENT 'Session of the caller; empty where not given.' CODEC(ZSTD(1)),
    purpose LowCardinality(String) COMMENT 'Purpose stated by the caller; empty where not given.' CODEC(ZSTD(1)),
    experiment_key String COMMENT 'Experiment unit; empty where not given.' CODEC(ZSTD(1)),
    workflow_id String COMMENT 'Id of the workflow run; empty where none.' CODEC(ZSTD(1)),
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
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (tenant, recorded_at, request_id, attempt)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Tokens and cost of each settled attempt; one that settles after its request ended included.';

CREATE TABLE IF NOT EXISTS {database}.attempts
(
    tenant LowCardinality(String) COMMENT 'Tenant.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, unique within its tenant.' CODEC(ZSTD(1)),
    attempt UInt32 COMMENT 'Number of the attempt, from 1.' CODEC(ZSTD(1)),
    attempt_id String COMMENT 'Id of the attempt, as the provider got it.' CODEC(ZSTD(1)),
    `try` UInt32 COMMENT 'Number of the provider call within the attempt, from 1.' CODEC(ZSTD(1)),
    phase LowCardinality(String) COMMENT 'started, done or handed_over.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When.' CODEC(Delta(8), ZSTD(1)),
    must_end_by Nullable(DateTime64(3, 'UTC')) COMMENT 'When the call has ended at the latest. NULL: out of range.' CODEC(Delta(8), ZSTD(1)),
    model LowCardinality(String) COMMENT 'Id of the model in the configuration; empty where none was chosen.' CODEC(ZSTD(1)),
    deployment LowCardinality(String) COMMENT 'Deployment that answered; empty where no call was made.' CODEC(ZSTD(1)),
    worker LowCardinality(String) COMMENT 'Worker that called.' CODEC(ZSTD(1)),
    call_topic LowCardinality(String) COMMENT 'Topic of the call task.' CODEC(ZSTD(1)),
    call_partition Int32 COMMENT 'Its partition.' CODEC(ZSTD(1)),
    call_offset Int64 COMMENT 'Its offset.' CODEC(Delta(8), ZSTD(1)),
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
PARTITION BY toYYYYMM(at)
ORDER BY (tenant, at, request_id, attempt, `try`)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'The attempt journal: what a call worker wrote before and after each provider call.';

CREATE TABLE IF NOT EXISTS {database}.audit
(
    event_id String COMMENT 'Deterministic id of the event: the same event made again after a crash has the same.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Tenant.' CODEC(ZSTD(1)),
    action LowCardinality(String) COMMENT 'What was decided or done.' CODEC(ZSTD(1)),
    actor LowCardinality(String) COMMENT 'Who: a stage or an operator.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When.' CODEC(Delta(8), ZSTD(1)),
    config_version LowCardinality(String) COMMENT 'Content hash of the configuration that held.' CODEC(ZSTD(1)),
    sequence UInt64 COMMENT 'Number in the chain of its partition, from 1.' CODEC(Delta(8), ZSTD(1)),
    previous_hash String COMMENT 'SHA-256 of the event before it in the chain, in hexadecimal; empty for the first.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, unique within its tenant.' CODEC(ZSTD(1)),
    attempt Nullable(UInt32) COMMENT 'Number of the attempt. NULL: about none.' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'Id of the model in the configuration; empty where none was chosen.' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'Status decided.' CODEC(ZSTD(1)),
    reason String COMMENT 'Why.' CODEC(ZSTD(1)),
    details String COMMENT 'More, a JSON text.' CODEC(ZSTD(3)),
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
PARTITION BY toYYYYMM(at)
ORDER BY (tenant, at, kafka_partition, sequence)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Decisions and operators'' actions, chained by hash within each partition of the topic.';

CREATE TABLE IF NOT EXISTS {database}.dead_letters
(
    id String COMMENT 'Topic-partition-offset of the original.' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'Kind of failure.' CODEC(ZSTD(1)),
    stage LowCardinality(String) COMMENT 'Stage that gave up.' CODEC(ZSTD(1)),
    reason LowCardinality(String) COMMENT 'Stable reason, for programs.' CODEC(ZSTD(1)),
    message String COMMENT 'What is wrong and what to fix.' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When.' CODEC(Delta(8), ZSTD(1)),
    source_topic LowCardinality(String) COMMENT 'Topic of the original.' CODEC(ZSTD(1)),
    source_partition Int32 COMMENT 'Its partition.' CODEC(ZSTD(1)),
    source_offset Int64 COMMENT 'Its offset.' CODEC(Delta(8), ZSTD(1)),
    source_timestamp Nullable(DateTime64(3, 'UTC')) COMMENT 'Its timestamp on Kafka. NULL: none.' CODEC(Delta(8), ZSTD(1)),
    `key` Nullable(String) COMMENT 'Original key, bytes. NULL: it had none.' CODEC(ZSTD(1)),
    value Nullable(String) COMMENT 'Original value, bytes. NULL: it had none.' CODEC(ZSTD(3)),
    headers Array(Tuple(key String, value Nullable(String))) COMMENT 'Original headers in order, values as bytes.' CODEC(ZSTD(1)),
    claimed_tenant LowCardinality(String) COMMENT 'Tenant that the event claims, not verified; empty where it names none.' CODEC(ZSTD(1)),
    request_id String COMMENT 'Id of the request, where one could be read.' CODEC(ZSTD(1)),
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
PARTITION BY toYYYYMM(at)
ORDER BY (claimed_tenant, at, id)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Events that could not be processed, with their original bytes. The same id again is the same letter.';
