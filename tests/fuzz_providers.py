"""Throws broken answers at every decoder: whatever comes, only a typed ProviderFailure may leave it.

    python -m tests.fuzz_providers --mutations 100000 [--seed N] [--only NAME]

Each adapter's cases are in a module `tests/property/providers/corpus_<vendor>.py` that has `CASES: list[Case]`.
The seed is printed; a failure prints what repeats it.
"""

import argparse
import importlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from processors.providers.base import ProviderFailure

FIXTURES = Path(__file__).parent / "fixtures" / "providers"
_CORPORA = Path(__file__).parent / "property" / "providers"
# What breaks decoders: numbers without measure, wrong types, deep nesting, lone surrogates, text that is no UTF-8.
_SPLICES = (
    b"null", b"true", b"-1", b"0", b"1e999", b"-0.0", b"NaN", b"Infinity", b"99999999999999999999999999", b'""',
    b"[]", b"{}", b"[[]]", b'{"a":{}}', b"[" * 2000, b'{"a":' * 2000, b'"\\ud800"', b'"\\udfff\\ud800"', b"\xff\xfe",
    b"\x00", b"\r", b"\n", b"\r\n\r\n", b"data:", b"data: [DONE]\n\n", b'data: {"error":1}\n\n', b"\xe2\x80\xa8",
    b"9" * 400, b'"' + b"x" * 5000 + b'"', b"event: error\n", b":", b",", b"}", b"]", b'"',
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A decoder under fuzz: `make` gives a fresh one (feed and finish), or `read` takes a whole body at once."""

    name: str
    fixtures: list[bytes]
    make: Callable[[], Any] | None = None
    read: Callable[[bytes], Any] | None = None
    expected: type[Exception] | tuple[type[Exception], ...] = field(default=ProviderFailure)

    def run(self, data: bytes, cuts: list[int]) -> None:
        """Decode `data`, cut at `cuts`. A finding is any exception but the expected ones, and text that can't be
        written.
        """
        try:
            if self.read is not None:
                self.read(data)
                return
            assert self.make is not None, "a case has make or read"
            decoder = self.make()
            start = 0
            for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
                decoder.feed(data[start:end])
                start = end
            answer = decoder.finish()
        except self.expected:
            return
        msgspec.json.encode(answer.parts)  # what no text can hold would end the worker later


def fixtures(vendor: str, *patterns: str) -> list[bytes]:
    """The bytes of a vendor's fixture files, in order of their names."""
    found = [path.read_bytes() for pattern in patterns for path in sorted((FIXTURES / vendor).glob(pattern))]
    assert found, f"no fixture of {vendor} matches {patterns}"
    return found


def all_cases() -> list[Case]:
    """The cases of every adapter."""
    cases: list[Case] = []
    for path in sorted(_CORPORA.glob("corpus_*.py")):
        cases += importlib.import_module(f"tests.property.providers.{path.stem}").CASES
    return cases


def mutated(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """`data` with one to six changes: bytes flipped, cut, doubled, moved, spliced in, or joined with another."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        size = len(out)
        at = rng.randrange(size + 1)
        length = min(size - at, rng.choice((1, 1, 2, 4, 16, 64, 300)))
        match rng.randrange(8):
            case 0 if size:
                out[at % size] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + length]
            case 2:
                out[at:at] = out[at : at + length]
            case 3:
                out[at : at + length] = rng.choice(_SPLICES)
            case 4:
                out[at:at] = rng.choice(_SPLICES)
            case 5:
                _replace_value(rng, out)
            case 6:
                out[at:] = rng.choice(others)[-rng.randrange(1, 400) :]
            case _:
                out[at : at + length] = rng.randbytes(length)
    return bytes(out)


def _replace_value(rng: random.Random, out: bytearray) -> None:
    """Put another JSON value where one begins: what random bytes seldom hit."""
    starts = [i + 1 for i, byte in enumerate(out) if byte == 0x3A]
    if not starts:
        return
    start = end = rng.choice(starts)
    while end < len(out) and out[end] not in b",}\n":
        end += 1
    out[start:end] = rng.choice(_SPLICES)


def inputs(rng: random.Random, case: Case, count: int) -> Iterator[tuple[bytes, list[int]]]:
    """`count` inputs for a case, a tenth of them arbitrary bytes, each with the places of its cuts."""
    for n in range(count):
        if n % 10 == 9:
            data = rng.randbytes(rng.randrange(200))
        else:
            data = mutated(rng, rng.choice(case.fixtures), case.fixtures)
        yield data, [rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 1, 3, 8)))]


def fuzz(case: Case, seed: int, count: int) -> int:
    """Run `count` inputs; returns how many were decoded or refused as they should be, which is all of them.

    Raises what the decoder let through, with the seed and the input in its note.
    """
    rng, held = random.Random(f"{seed}/{case.name}"), 0
    for n, (data, cuts) in enumerate(inputs(rng, case, count)):
        try:
            case.run(data, cuts)
        except Exception as error:
            error.add_note(f"{case.name}: input {n} of seed {seed}, cut at {cuts}: {data[:2000]!r}")
            raise
        held += 1
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000, help="inputs for each decoder")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    chosen = [case for case in all_cases() if args.only in case.name]
    if not chosen:
        sys.exit(f"no case is named like {args.only!r}")
    for case in chosen:
        began = time.monotonic()
        held = fuzz(case, args.seed, args.mutations)
        print(f"{case.name}: {held} inputs in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
