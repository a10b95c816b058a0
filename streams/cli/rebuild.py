"""`sluice clickhouse rebuild`: the sums by minute or by day, made anew from the rows."""

import time

from sinks.aggregates import AGGREGATES, RebuildFailed, rebuild
from streams.cli import output
from streams.cli.clickhouse_admin import managing
from streams.cli.connect import where
from streams.cli.failure import Failure, NotFound


async def rebuild_view(view: str, as_json: bool) -> None:
    """Make the sums of `view` anew and tell what was made. Raises Failure."""
    if (aggregate := AGGREGATES.get(view)) is None:
        raise NotFound(f"there are no sums of {view}", f"choose one of {', '.join(AGGREGATES)}")
    began = time.monotonic()
    async with managing(where(), f"{view} can't be made anew") as clickhouse:
        try:
            done = await rebuild(
                clickhouse, aggregate, lambda parts: output.note(f"{parts} parts to be done")
            )
        except RebuildFailed as error:
            hint = "until then queries read the rows: answers are right, and take longer"
            raise Failure(str(error), hint) from error
    seconds = time.monotonic() - began
    if as_json:
        output.emit({"view": view, "table": aggregate.table, "seconds": round(seconds, 3), **vars(done)})
        return
    output.say(
        f"{view}: {done.rows} rows of {aggregate.table} in {done.sums} sums, {seconds:.1f} s", output.GOOD
    )
    share = f", {done.size / done.table_size:.0%} of the table" if done.table_size else ""
    output.say(f"  {done.parts} parts, {output.size(done.size)}{share}")
