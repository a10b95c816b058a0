"""`sluice tail`: events as they come."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from schemas import names
from schemas.records import DeadLetter
from schemas.signals import Invalid
from streams.cli import output
from streams.cli.connect import where
from streams.cli.events import KINDS, as_dict, headers_of, line, open_codec
from streams.cli.kafka import Span, read


@dataclass(frozen=True)
class Filter:
    """Which events to show; None means all."""

    tenant: str | None = None
    request_id: str | None = None
    limit: int | None = None

    def before_decoding(self, record: Any) -> bool:
        """False where the headers alone say that the event isn't wanted; dead letters have none."""
        headers = headers_of(record)
        tenant, request = headers.get(names.HEADER_TENANT), headers.get(names.HEADER_REQUEST_ID)
        return tenant in (None, self.tenant or tenant) and request in (None, self.request_id or request)

    def after_decoding(self, event: msgspec.Struct) -> bool:
        """Whether the event is wanted."""
        tenant = event.claimed_tenant if isinstance(event, DeadLetter) else getattr(event, "tenant", None)
        request = getattr(event, "request_id", None)
        return tenant == (self.tenant or tenant) and request == (self.request_id or request)


async def follow(
    kind: str, wanted: Filter, *, since_s: float | None, from_start: bool, stop_at_end: bool, as_json: bool
) -> None:
    """Print the events of `kind` until the limit, the end (`stop_at_end`) or Ctrl-C."""
    place = where()
    topic, event_type = KINDS[kind]
    since = None if since_s is None else int((time.time() - since_s) * 1000)
    span = Span(since=since, only_new=not from_start and not stop_at_end, follow=not stop_at_end)
    shown = 0
    console = output.console()
    async with open_codec(place) as codec:
        async for record in read(place.brokers, topic, span):
            if not wanted.before_decoding(record):
                continue
            try:
                event = await codec.decode_async(record.value, event_type)
            except Invalid as invalid:
                output.note(f"{topic}-{record.partition}-{record.offset}: {invalid}")
                continue
            if not wanted.after_decoding(event):
                continue
            if as_json:
                output.emit(as_dict(record, event))
            else:
                console.print(line(event))
            shown += 1
            if wanted.limit is not None and shown >= wanted.limit:
                return
