"""`sluice dead-letters list|show`. A letter is open until a command on `llm.control` names it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import ids, names
from schemas.codec import Codec
from schemas.records import Control, DeadLetter, Header, type_names
from schemas.signals import Invalid
from streams.cli import output
from streams.cli.connect import Where, where
from streams.cli.events import fields_of, open_codec
from streams.cli.failure import BadInput, NotFound
from streams.cli.kafka import Span, read

UNREADABLE = "unreadable_letter"
_STATES = {"redrive": "redriven", "discard": "discarded", "resolve": "resolved"}


@dataclass(frozen=True)
class Wanted:
    """Which letters to list. `handled` includes those already acted on."""

    tenant: str | None = None
    reason: str | None = None
    kind: str | None = None
    since_s: float | None = None
    handled: bool = False

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the letter is one of these, its state aside."""
        pairs = ((self.tenant, letter.claimed_tenant), (self.reason, letter.reason), (self.kind, letter.kind))
        recent = self.since_s is None or letter.at >= (time.time() - self.since_s) * 1000
        return recent and all(want is None or want == have for want, have in pairs)


async def states(place: Where, codec: Codec) -> dict[str, str]:
    """What was done about each letter that a command has named: redriven, discarded or resolved."""
    found: dict[str, str] = {}
    async for record in read(place.brokers, names.CONTROL):
        if not (record.key or b"").startswith(b"op:") or record.value is None:
            continue
        try:
            control = await codec.decode_async(record.value, Control)
        except Invalid:
            continue  # classify dead-letters it; here it merely names no letter
        if control.dead_letter_id and control.command in _STATES:
            found[control.dead_letter_id] = _STATES[control.command]
    return found


async def letters(place: Where, codec: Codec, wanted: Wanted) -> list[tuple[DeadLetter, str]]:
    """The letters and their states, the oldest first; of several with one id, the last."""
    done = await states(place, codec)
    since = None if wanted.since_s is None else int((time.time() - wanted.since_s) * 1000)
    found: dict[str, DeadLetter] = {}
    async for record in read(place.brokers, names.DEAD_LETTERS, Span(since=since)):
        letter = await letter_of(codec, record)
        if wanted.takes(letter):
            found[letter.id] = letter
    stated = [(letter, done.get(letter.id, "open")) for letter in found.values()]
    return sorted(((x, s) for x, s in stated if wanted.handled or s == "open"), key=lambda pair: pair[0].at)


async def letter_of(codec: Codec, record: Any) -> DeadLetter:
    """The letter in a Kafka record. What can't be read as one is told as a letter about itself."""
    try:
        return await codec.decode_async(record.value, DeadLetter)
    except Invalid as invalid:
        return DeadLetter(
            id=ids.dead_letter_id(record.topic, record.partition, record.offset),
            kind=UNREADABLE,
            stage="?",
            reason=UNREADABLE,
            message=f"this record is no dead letter: {invalid.message}",
            at=record.timestamp,
            source_topic=record.topic,
            source_partition=record.partition,
            source_offset=record.offset,
            source_timestamp=record.timestamp,
            key=record.key,
            value=record.value,
            headers=[Header(key=k, value=v) for k, v in record.headers],
        )


async def show_list(wanted: Wanted, as_json: bool) -> None:
    """`list`."""
    place = where()
    async with open_codec(place) as codec:
        found = await letters(place, codec, wanted)
    if as_json:
        for letter, state in found:
            fields = fields_of(letter)
            for large in ("value", "headers", "key"):
                fields.pop(large)
            output.emit({**fields, "state": state})
        return
    if not found:
        output.note("none" if wanted.handled else "none open (--all shows those already handled)")
        return
    rows = [
        (
            output.clock(x.at),
            x.id,
            x.reason,
            x.claimed_tenant,
            output.short(x.message, 90),
            *_state(s, wanted),
        )
        for x, s in found
    ]
    columns = ["at", "id", "reason", "tenant", "message", *(["state"] if wanted.handled else [])]
    output.table(None, columns, rows)


def _state(state: str, wanted: Wanted) -> tuple[str, ...]:
    return (state,) if wanted.handled else ()


async def find(place: Where, codec: Codec, letter_id: str) -> DeadLetter:
    """The letter with an id. Raises NotFound."""
    # Most writers let the key place a letter; route writes to its own partition.
    for span in (Span(key=letter_id), Span()):
        latest = None
        async for record in read(place.brokers, names.DEAD_LETTERS, span):
            lies = ids.dead_letter_id(record.topic, record.partition, record.offset)
            if letter_id == lies or record.key == letter_id.encode():
                latest = record
        if latest is not None:
            return await letter_of(codec, latest)
    raise NotFound(f"no dead letter {letter_id}", "`sluice dead-letters list --all` shows them")


async def show_one(letter_id: str, raw: Path | None, as_json: bool) -> None:
    """`show`."""
    place = where()
    async with open_codec(place) as codec:
        letter = await find(place, codec, letter_id)
        state = (await states(place, codec)).get(letter.id, "open")
        decoded = await _decoded(codec, letter)
    if raw is not None:
        _save(letter, raw)
    if as_json:
        output.emit({**fields_of(letter), "state": state, "decoded": decoded})
        return
    headers = ", ".join(f"{h.key}={(h.value or b'').decode(errors='replace')}" for h in letter.headers)
    rows = [
        ("state", state),
        ("reason", letter.reason),
        ("message", letter.message),
        ("given up by", letter.stage),
        ("at", output.moment(letter.at)),
        (
            "original",
            f"{letter.source_topic}, partition {letter.source_partition}, offset {letter.source_offset}",
        ),
        ("sent at", output.moment(letter.source_timestamp)),
        ("tenant", letter.claimed_tenant and f"{letter.claimed_tenant} (as the event claims)"),
        ("request", letter.request_id),
        ("key", None if letter.key is None else output.plain(letter.key)),
        ("headers", headers or None),
        ("value", "null" if letter.value is None else f"{len(letter.value)} bytes: {_preview(letter.value)}"),
    ]
    output.facts(f"dead letter {letter.id}", rows)
    if decoded is not None:
        import json

        print(json.dumps(decoded, indent=2, ensure_ascii=False))


def _save(letter: DeadLetter, path: Path) -> None:
    try:
        path.write_bytes(letter.value or b"")
    except OSError as error:
        raise BadInput(f"{path} can't be written: {error.strerror}") from error
    output.note(f"{len(letter.value or b'')} bytes written to {path}")


async def _decoded(codec: Codec, letter: DeadLetter) -> dict[str, object] | None:
    """The original as a record, where it is one."""
    try:
        record = await codec.decode_async(letter.value, tuple(type_names.values()))
    except Invalid:
        return None
    return {k: v for k, v in fields_of(record).items() if v not in (None, [], {})}


def _preview(value: bytes) -> str:
    text = value[:48]
    shown = text.decode(errors="replace") if all(32 <= b < 127 for b in text) else text[:24].hex(" ")
    return shown + ("…" if len(value) > len(text) else "")
