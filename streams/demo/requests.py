"""What the demo publishes: the requests of three services, and the ones that must not get through."""

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from schemas import names
from schemas.codec import Codec
from schemas.records import Parameters, RequestEvent

LENDER, BANK = "acme-lending", "borealis-bank"
REPLY_TOPIC = "borealis.chat.replies"
TENANTS = (LENDER, BANK)

Ending = Literal["succeeded", "rejected", "expired", "dead letter", "duplicate"]

_LETTERS = (
    "I, Dana Whitfield, apply for a home loan of 240,000 dollars over 25 years. My yearly income is 81,000.",
    "Please consider a car loan of 18,500 euros for Marek Novak, 5 years, net income 3,100 a month.",
    "Loan wanted: 7,200 pounds for a kitchen, Aisha Rahman, 36 months, salary 2,450 pounds.",
    "Our bakery, Lindqvist & Sons, asks for 60,000 kronor for an oven, to be repaid in 4 years.",
    "Student loan request: Tomas Silva, 12,000 dollars, first payment in 2027, parents' income 55,000.",
    "Refinancing: current debt 31,900 dollars at 9 percent, applicant Grace Okoro, 7 years wanted.",
)
_COMPLAINTS = (
    "I was charged twice for the same card payment and nobody answers my mails.",
    "The app logs me out each time I open my statement.",
    "Your branch closed at noon although the door says five o'clock.",
    "A transfer of 400 euros has been missing for six days.",
    "My new card never arrived, and I pay for it every month.",
    "The interest you quoted on the phone isn't the one in the contract.",
    "Someone else's letters come to my address with your name on them.",
)
_CHATS = (
    "How do I change the address on my account?",
    "Can I pay my credit card bill in two parts?",
    "What do I need to open an account for my daughter?",
    "Why does a transfer abroad take three days?",
    "How can I block a card that I lost yesterday?",
    "Is there a fee when I take out money in Portugal?",
    "Good morning! Which savings account suits me if I save 50 euros a month?",
)


@dataclass(frozen=True)
class Planned:
    """A record for llm.requests, and what must come of it. `request_id` is None where none can be read."""

    service: str
    value: bytes | None
    ends: Ending
    request_id: str | None
    key: bytes | None = None


def plan(codec: Codec, run: str, count: int) -> list[Planned]:
    """`count` real requests of the three services in turn, mixed with the odd ones; ids begin with `run`."""
    real = [next(s) for s, _ in zip(itertools.cycle(_services(codec, run)), range(count), strict=False)]
    odd = [*_dead_letters(codec, run), *_refused(codec, run)]
    repeated = Planned("chat", real[2].value, "duplicate", real[2].request_id)
    mixed = [*real, *odd]
    random.Random(7).shuffle(mixed)
    return [*mixed, repeated]


def _services(codec: Codec, run: str) -> tuple[Iterator[Planned], ...]:
    return (_extraction(codec, run), _classification(codec, run), _chat(codec, run))


def _extraction(codec: Codec, run: str) -> Iterator[Planned]:
    for n, letter in enumerate(itertools.cycle(_LETTERS)):
        prompt = f"Copy out of this letter the applicant, the amount and the term.\n\n{letter}"
        yield _event(codec, "loans", run, n, LENDER, prompt=prompt, task_type="extraction", max_tokens=32)


def _classification(codec: Codec, run: str) -> Iterator[Planned]:
    for n, text in enumerate(itertools.cycle(_COMPLAINTS)):
        prompt = f"Answer with one word, billing, app, branch, card or other. What is this about?\n\n{text}"
        event = _event(
            codec,
            "complaints",
            run,
            n,
            BANK,
            prompt=prompt,
            task_type="classification",
            max_tokens=8,
            lane="batch",
        )
        yield event


def _chat(codec: Codec, run: str) -> Iterator[Planned]:
    system = "You help the customers of a bank. Answer in one short sentence."
    for n, question in enumerate(itertools.cycle(_CHATS)):
        yield _event(
            codec, "chat", run, n, BANK, prompt=question, system=system, max_tokens=32, lane="interactive",
            task_type="chat", reply_topic=REPLY_TOPIC, session_id=f"session-{n % 5}",
        )  # fmt: skip


def _event(
    codec: Codec, service: str, run: str, number: int, tenant: str, *, ends: Ending = "succeeded",
    max_tokens: int = 16, temperature: float = 0.2, **fields: str | int | None,
) -> Planned:  # fmt: skip
    request = RequestEvent(
        id=f"{run}-{service}-{number:03d}",
        tenant=tenant,
        application=service,
        parameters=Parameters(max_tokens=max_tokens, temperature=temperature),
        metadata={"run": run},
    )
    for name, value in fields.items():
        setattr(request, name, value)
    return Planned(service, codec.encode(request, names.REQUESTS), ends, request.id, key=service.encode())


def _refused(codec: Codec, run: str) -> list[Planned]:
    """Requests that are accepted and end at once, with a result that says what to fix."""
    ask = "Is the bank open today?"
    now = time.time_ns() // 1_000_000
    return [
        _event(codec, "oversize", run, 0, BANK, prompt="x" * (1_200 << 10), ends="rejected"),
        _event(codec, "no-such-model", run, 0, BANK, prompt=ask, model="gpt-99", ends="rejected"),
        _event(codec, "hot", run, 0, BANK, prompt=ask, temperature=9.0, ends="rejected"),
        _event(codec, "far", run, 0, LENDER, prompt=ask, deadline_at=now + 400 * 86_400_000, ends="rejected"),
        _event(codec, "late", run, 0, LENDER, prompt=ask, deadline_at=now - 60_000, ends="expired"),
    ]


def _dead_letters(codec: Codec, run: str) -> list[Planned]:
    """Records that are no requests of a known tenant."""
    stranger = _event(codec, "stranger", run, 0, "nobody-we-know", prompt="Hello?", ends="dead letter")
    unnamed = _event(codec, "unnamed", run, 0, "", prompt="Hello?", ends="dead letter")
    return [
        Planned("json", b'{"tenant": "acme-lending", "prompt": "not Avro"}', "dead letter", None),
        Planned("truncated", (stranger.value or b"")[:40], "dead letter", None),
        Planned("noise", random.Random(3).randbytes(64), "dead letter", None),
        Planned("foreign-schema", b"\x00\x7f\xff\xff\xff" + b"\x02a", "dead letter", None),
        Planned("null", None, "dead letter", None, key=b"null"),
        Planned("stranger", stranger.value, "dead letter", None),
        Planned("unnamed", unnamed.value, "dead letter", None),
    ]
