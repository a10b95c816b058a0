"""`sluice submit`: one request from the command line, or a file of them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from schemas.records import RequestEvent, ResultEvent
from streams.cli import output
from streams.cli.connect import where
from streams.cli.events import fields_of, line
from streams.cli.failure import BadInput, TimedOut, Unreachable, Unwanted
from streams.cli.request_files import Given, requests
from streams.client import Client
from streams.client_handle import ClientError, DeadLettered, Handle

_CHUNK = 500
Advance = Callable[[], None]


async def submit_all(given: Given, wait_s: float | None, as_json: bool) -> None:
    """Send, and with `wait_s` wait for the results. Raises Unwanted where one didn't succeed."""
    place = where()
    wanted = requests(given)
    many = given.file is not None
    client = Client(place.brokers, place.registry_url, name="sluice-cli")
    try:
        await client.__aenter__()
    except LookupError as error:
        raise Unreachable(str(error).split(":")[0], "`sluice topics apply --config FILE`") from error
    try:
        handles = await _send(client, wanted, many)
        if wait_s is None:
            _print_sent(wanted, many, as_json)
            return
        bad = await _wait(handles, wait_s, many, as_json)
    finally:
        await client.__aexit__(None, None, None)
    if bad:
        raise Unwanted(f"{bad} of {len(wanted)} did not succeed" if many else "")


async def _send(client: Client, wanted: Sequence[RequestEvent], many: bool) -> list[Handle]:
    handles: list[Handle] = []
    with _bar("sent", len(wanted), many) as advance:
        for start in range(0, len(wanted), _CHUNK):
            try:
                sent = await client.submit_many(wanted[start : start + _CHUNK])
            except ValueError as error:  # one id twice, with two bodies
                raise BadInput(str(error)) from error
            handles += sent
            for _ in sent:
                advance()
    return handles


def _print_sent(wanted: Sequence[RequestEvent], many: bool, as_json: bool) -> None:
    if as_json:
        for request in wanted:
            output.emit({"request_id": request.id, "tenant": request.tenant})
    elif many:
        output.say(f"{len(wanted)} requests are sent; `sluice tail results` shows how they end")
    else:
        output.say(f"sent: {wanted[0].id}")
        output.say(f"sluice trace {wanted[0].id}   shows what becomes of it", "dim")


async def _wait(handles: Sequence[Handle], wait_s: float, many: bool, as_json: bool) -> int:
    """Print each result as it comes; how many didn't succeed. Raises TimedOut."""
    bad = 0
    with _bar("ended", len(handles), many) as advance:
        waiting = [asyncio.ensure_future(_ended(h)) for h in handles]
        try:
            for ended in asyncio.as_completed(waiting, timeout=wait_s):
                handle, result = await ended
                bad += not _print_end(handle, result, many, as_json)
                advance()
        except TimeoutError:
            open_ = [h.request_id for h in handles if not h.done()]
            named = ", ".join(open_[:5]) + (", ..." if len(open_) > 5 else "")
            message = f"{len(open_)} of {len(handles)} have no result after {wait_s:.0f} s: {named}"
            raise TimedOut(message, "they go on; `sluice trace ID` shows where one is") from None
        finally:
            for task in waiting:
                task.cancel()
    return bad


async def _ended(handle: Handle) -> tuple[Handle, ResultEvent | ClientError]:
    try:
        return handle, await handle.result()
    except ClientError as error:
        return handle, error


def _print_end(handle: Handle, result: ResultEvent | ClientError, many: bool, as_json: bool) -> bool:
    """Tell how one ended; whether it succeeded."""
    if isinstance(result, ClientError):
        letter = {"dead_letter": result.letter.id} if isinstance(result, DeadLettered) else {}
        if as_json:
            named = {"request_id": handle.request_id, "tenant": handle.tenant}
            output.emit({**named, "status": "refused", "error_message": str(result), **letter})
        else:
            output.note(f"{handle.request_id}: {result}")
        return False
    if as_json:
        output.emit(fields_of(result))
    elif many:
        output.console().print(line(result))
    else:
        _print_one(result)
    return result.status == "succeeded"


def _print_one(result: ResultEvent) -> None:
    if result.status == "succeeded":
        print(result.text or "")
        output.note(str(line(result)).rpartition("  ")[0])
        return
    output.console().print(line(result))
    for problem in result.problems:
        output.note(f"  {problem.field or problem.code}: {problem.message}")


@contextmanager
def _bar(what: str, total: int, many: bool) -> Iterator[Advance]:
    """A progress bar on stderr for files, where that is a terminal."""
    console = output.console(stderr=True)
    if not many or not console.is_terminal:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
