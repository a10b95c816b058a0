"""Every metric of Sluice, by stage: `sluice_<stage>_<what>_<unit>`."""

from prometheus_client import Counter, Gauge, Histogram

# call
CALL_OUTCOMES = Counter("sluice_call_outcomes_total", "Outcomes sent, by status", ["model", "status"])
CALL_TRIES = Counter("sluice_call_tries_total", "Provider calls begun", ["model"])
CALL_RUNNING = Gauge("sluice_call_running_calls", "Provider calls that run now", ["model"])
CALL_QUEUED = Gauge("sluice_call_queued_tasks", "Tasks fetched and not yet called", ["model"])
CALL_ABOVE_MARK = Gauge(
    "sluice_call_above_mark_offsets", "Offsets delivered above the committed low-water mark", ["topic"]
)
CALL_FIRST_TOKEN = Histogram("sluice_call_first_token_seconds", "From call to first token", ["model"])
CALL_DURATION = Histogram("sluice_call_duration_seconds", "From call to the end of its answer", ["model"])
CALL_JOURNAL_RECORDS = Counter(
    "sluice_call_journal_records_total", "Attempt journal records, by phase", ["phase"]
)
CALL_FOREIGN_JOURNAL_RECORDS = Counter(
    "sluice_call_foreign_journal_records_total", "Records on llm.attempts that can't be decoded"
)
CALL_FOREIGN_COMMANDS = Counter(
    "sluice_call_foreign_commands_total", "Records on llm.control that can't be decoded"
)
CALL_STALE_HEARTBEATS = Counter(
    "sluice_call_stale_heartbeats_total",
    "Times that starting calls stood still for want of a heartbeat",
    ["model"],
)

CALL_LAG = Gauge(
    "sluice_call_lag_records", "Positions not yet read, and tasks read whose end isn't durable yet", ["topic"]
)
CALL_UNSENT_BYTES = Gauge(
    "sluice_call_unsent_bytes", "Bytes of outcomes, and of their tasks, that wait to become durable"
)
CALL_DEAD_LETTERS = Counter(
    "sluice_call_dead_letters_total", "Records on call topics that nobody can read, by reason", ["reason"]
)

CALL_DELTAS = Counter("sluice_call_deltas_total", "Delta events written to reply topics")
CALL_DELTAS_LOST = Counter("sluice_call_deltas_lost_total", "Attempts whose deltas could not all be written")
CALL_BENCHED = Counter(
    "sluice_call_benched_total",
    "Times that a key or its deployment was benched, by why",
    ["deployment", "key", "reason"],
)
CALL_CONTENT_BYTES = Counter("sluice_call_content_bytes_total", "Bytes of content fetched by reference")

# sink
SINK_ROWS = Counter("sluice_sink_rows_total", "Rows that landed in ClickHouse", ["table"])
SINK_BYTES = Counter("sluice_sink_record_bytes_total", "Bytes of the records whose rows landed")
SINK_CHUNK = Histogram("sluice_sink_chunk_seconds", "From a chunk's intent to its end")
SINK_CHUNK_ROWS = Histogram(
    "sluice_sink_chunk_rows", "Rows of a chunk", buckets=(1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000)
)
SINK_FRESHNESS = Histogram(
    "sluice_sink_freshness_seconds",
    "Age of a chunk's oldest record when it had landed",
    buckets=(0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 1800),
)
SINK_LAG = Gauge("sluice_sink_lag_records", "Readable positions that have not landed", ["topic"])
SINK_PAUSED = Gauge("sluice_sink_paused", "1 while the sink waits for ClickHouse")
SINK_RETRIES = Counter("sluice_sink_retries_total", "Requests to ClickHouse that failed, by what", ["what"])
SINK_FAILING = Gauge(
    "sluice_sink_failing",
    "Failures in a row of what the sink is trying, by ClickHouse's error code (none: no answer)",
    ["what", "code"],
)
SINK_REPEATED = Counter("sluice_sink_repeated_intents_total", "Intents found open and finished")
SINK_LOST = Counter("sluice_sink_lost_chunks_total", "Chunks given up because another worker had gone on")
SINK_DEAD_LETTERS = Counter(
    "sluice_sink_dead_letters_total", "Records that have no row, by reason", ["reason"]
)
SINK_GAP = Counter("sluice_sink_gap_records_total", "Positions that Kafka deleted unread", ["topic"])
SINK_RECREATED = Gauge(
    "sluice_sink_recreated_partitions", "Not written: Kafka has less of them than was read", ["topic"]
)

# reconciliations, made beside the sink
RECONCILE_RUNS = Counter(
    "sluice_reconcile_runs_total", "Reconciliations on schedule: clean, gaps or failed", ["result"]
)
RECONCILE_GAPS = Gauge(
    "sluice_reconcile_gaps", "Gaps that the last reconciliation left, by kind; any is their sum", ["kind"]
)
RECONCILE_LAST = Gauge(
    "sluice_reconcile_last_timestamp_seconds",
    "When the last reconciliation was over, by whomever; before the first, when this worker began",
)
RECONCILE_SECONDS = Histogram(
    "sluice_reconcile_seconds", "How long a reconciliation took", buckets=(1, 5, 15, 60, 300, 900, 3600)
)
RECONCILE_RECORDS = Counter("sluice_reconcile_records_total", "Records compared on schedule")

# erasures and legal holds, obeyed beside the sink
ERASURE_ROWS = Counter(
    "sluice_erasure_rows_total", "Rows emptied, held or released after they had landed, by a look at them"
)
ERASURE_LOOKED = Gauge(
    "sluice_erasure_last_look_timestamp_seconds", "When this worker last looked whether an order or hold is obeyed"
)

# relay
RELAY_COPIED = Counter("sluice_relay_copied_total", "Results copied to a reply topic")
RELAY_HANGING = Gauge(
    "sluice_relay_hanging_transaction_seconds",
    "How long an open transaction has hidden results",
    ["partition"],
)
RELAY_REFUSED = Counter(
    "sluice_relay_refused_total", "Results that could not be copied, by reason", ["reason"]
)
RELAY_LAG = Gauge("sluice_relay_lag_records", "Readable positions that are not copied yet", ["partition"])
RELAY_GAP = Counter("sluice_relay_gap_records_total", "Positions that Kafka deleted unread")
RELAY_FORGOTTEN = Counter(
    "sluice_relay_forgotten_positions_total", "Partitions whose position was lost: copies may repeat"
)

# classify
CLASSIFY_EVENTS = Counter(
    "sluice_classify_events_total", "Events classified, by what became of them", ["result"]
)
CLASSIFY_LAG = Gauge(
    "sluice_classify_lag_records", "Records of llm.requests not yet classified", ["partition"]
)

# route (the outbox)
ROUTE_INPUTS = Counter("sluice_route_inputs_total", "Records processed", ["partition"])
ROUTE_OUTPUTS = Counter("sluice_route_outputs_total", "Records written", ["partition"])
ROUTE_TRANSACTION = Histogram("sluice_route_transaction_seconds", "From taking a batch to its commit")
ROUTE_ABORTS = Counter("sluice_route_aborts_total", "Partitions let go: fenced, broker, record", ["reason"])
ROUTE_POISONED = Counter("sluice_route_poisoned_total", "Records given up")
ROUTE_OPENING = Gauge("sluice_route_opening_seconds", "How long the last opening took", ["partition"])
ROUTE_LAG = Gauge("sluice_route_lag_records", "Records of llm.tenant-events not yet processed", ["partition"])
ROUTE_OPEN_REQUESTS = Gauge("sluice_route_open_requests", "Requests without a terminal result", ["partition"])
ROUTE_OLDEST_OPEN = Gauge(
    "sluice_route_oldest_open_request_seconds",
    "Age of the oldest request without a terminal result",
    ["partition"],
)

ROUTE_DEAD_LETTERS = Counter(
    "sluice_route_dead_letters_total", "Records of llm.tenant-events put aside, by reason", ["reason"]
)
ROUTE_DEDUPE_REACH = Gauge(
    "sluice_route_dedupe_reach_seconds", "How far back a repeated request is recognised", ["partition"]
)
ROUTE_DEDUPE_RETENTION = Gauge(
    "sluice_route_dedupe_retention_seconds", "How far back it should be (defaults.dedupe_hours)"
)

# every worker
REGISTRY_WAITS = Counter("sluice_worker_registry_waits_total", "Failed tries to reach the schema registry")
CONFIG_INFO = Gauge("sluice_worker_config_info", "1 for the configuration version in force", ["version"])
