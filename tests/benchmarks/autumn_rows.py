"""Rows of usage made inside ClickHouse, as an autumn of 91 days brings them: from 1 September to 30 November 2026.

Twenty tenants of uneven size (acme-lending has three in ten rows), 20 applications, 8 models of 4 providers, more by
day than by night, 3 % failed calls, 3 % retries, one call in 700 of unknown end, every other of which a correction
replaces within a day; one model of eight has no price. So a day and its 1,280 usual combinations of what the sums are
keyed by have some 3,700 sums. Rows follow from their numbers: the same again each time.
"""

from typing import Final

DAYS: Final = 91
_FIRST_MS: Final = 1_788_220_800_000  # 2026-09-01
_DAY_MS: Final = 86_400_000


def _dice(n: int) -> str:
    """0 to 1, even, of its own for each `n`."""
    return f"(cityHash64(h, {n}) % 1000003 / 1000003)"


# In order: each may use those before it. What begins with an underscore isn't a column.
_STEPS: Final = {
    "_corrects": "number % 1400 = 350",
    "_of": "toUInt64(if(_corrects, toUInt64(number - 350), number))",
    "h": "cityHash64(_of)",
    "_unknown": "_of % 700 = 0 AND NOT _corrects",
    "_failed": f"{_dice(1)} > 0.97 AND NOT _unknown AND NOT _corrects",
    "_x": f"_of * {{step}} - 0.6 * {_DAY_MS} / 6.2832 * sin(6.2832 * _of * {{step}} / {_DAY_MS})",
    "_at": f"fromUnixTimestamp64Milli(toInt64({_FIRST_MS} + abs(_x)), 'UTC')",
    "_tenant": f"toUInt8(20 * pow({_dice(2)}, 2.5))",
    "_app": f"toUInt8(4 * pow({_dice(3)}, 1.5))",
    "_model": f"toUInt8(8 * pow({_dice(4)}, 2))",
    "_queue": f"toInt64(5 + 400 * pow({_dice(5)}, 6))",
    "_first": f"toInt64(120 + 2000 * pow({_dice(6)}, 3))",
    "_call": f"toInt64(_first + 200 + 12000 * pow({_dice(7)}, 4))",
    "event_id": "if(_corrects, lower(hex(sipHash128(h, 'again'))), lower(hex(sipHash128(h))))",
    "tenant": "if(_tenant = 0, 'acme-lending', concat('tenant-', toString(_tenant)))",
    "request_id": "lower(hex(sipHash128(h, 'request')))",
    "attempt": f"if({_dice(9)} > 0.97, 2, 1)",
    "attempt_id": "lower(hex(sipHash128(h, 'attempt')))",
    "tries": "1",
    "status": "multiIf(_unknown, 'unknown', _failed, 'failed', 'succeeded')",
    "accepted_at": "_at - toIntervalMillisecond(_queue + _call + 30)",
    "recorded_at": "if(_corrects, _at + toIntervalSecond(h % 80000), _at)",
    "config_version": "lower(hex(sipHash64(intDiv(_of, 900000))))",
    "model": "concat('model-', toString(_model))",
    "provider": "concat('provider-', toString(intDiv(_model, 2)))",
    "deployment": "concat(provider, '-eu')",
    "vendor_model": "concat('vendor-', model, '-2026')",
    "input_uncached_tokens": f"if(_unknown, 4000, 50 + toUInt64(3000 * pow({_dice(10)}, 3)))",
    "cache_read_tokens": f"if(_model > 5, NULL, if({_dice(11)} < 0.3, toUInt64(1024 * (1 + {_dice(12)} * 8)), 0))",
    "cache_write_tokens": f"if(_model > 5, NULL, if({_dice(13)} > 0.9, 1024, 0))",
    "output_tokens": f"if(_unknown, 1024, toUInt64(20 + 1000 * pow({_dice(14)}, 3)))",
    "reasoning_tokens": "if(_model > 4, NULL, toUInt64(output_tokens * 0.3))",
    "tokens_estimated": "_unknown",
    "usage_raw": "concat('{{\"prompt_tokens\":', toString(input_uncached_tokens), ',\"completion_tokens\":', toString(output_tokens), '}}')",  # noqa: E501
    "cost": "if(_model = 7, NULL, toDecimal64((input_uncached_tokens * 1.5 + output_tokens * 6) * (_model + 1) / 1e7, 9))",  # noqa: E501
    "corrects": "if(_corrects, lower(hex(sipHash128(h))), '')",
    "error_class": f"multiIf(_failed, ['rate_limited', 'provider_error', 'timeout'][1 + toUInt8(2.99 * {_dice(15)})], _unknown, 'unknown_outcome', '')",  # noqa: E501
    "issued_at": "accepted_at + toIntervalMillisecond(20)",
    "started_at": "issued_at + toIntervalMillisecond(_queue)",
    "first_token_at": "if(_failed, NULL, started_at + toIntervalMillisecond(_first))",
    "ended_at": "started_at + toIntervalMillisecond(_call)",
    "lane": "['interactive', 'standard', 'batch'][1 + _app % 3]",
    "task_type": "['chat', 'extract', 'summarise', 'classify', 'code', 'translate'][1 + (_app * 2 + cityHash64(h, 16) % 2) % 6]",  # noqa: E501
    "application": "concat('app-', toString(_tenant % 5), toString(_app))",
    "`user`": "concat('user-', toString(cityHash64(h, 17) % 20000))",
    "session_id": "lower(hex(cityHash64(h, 18) % 1000000))",
    "metadata": "if(_app = 1, map('order', toString(_of), 'experiment_arm', if(cityHash64(h, 19) % 2 = 0, 'control', 'shorter')), map('order', toString(_of)))",  # noqa: E501
    "kafka_topic": "'llm.usage'",
    "kafka_partition": "toInt32(cityHash64(tenant) % 12)",
    "kafka_offset": "toInt64(number)",
    "kafka_timestamp": "recorded_at + toIntervalMillisecond(3)",
}


def insert(database: str, first: int, count: int, total: int) -> str:
    """The statement that inserts the rows [first, first + count) of `total` into usage, as one block."""
    columns = [name for name in _STEPS if name != "h" and not name.startswith("_")]
    steps = ", ".join(f"{value} AS {name}" for name, value in _STEPS.items())
    made = steps.format(step=DAYS * _DAY_MS / total) if "{step}" in steps else steps
    listed = ", ".join(columns)
    return (
        f"INSERT INTO {database}.usage ({listed}) "
        f"SELECT {listed} FROM (SELECT number, {made} FROM numbers({first}, {count})) "
        f"SETTINGS max_insert_block_size = {count}, max_block_size = {count}, min_insert_block_size_rows = {count}, "
        "max_partitions_per_insert_block = 0, insert_deduplicate = 0"
    )
