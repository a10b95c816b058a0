"""Secrets are taken out of texts, in each form in which they come."""

import base64
import json
import logging
import threading
import time
from urllib.parse import quote

import pytest

from processors.providers.redact import REDACTED, SECRETS, RedactingFormatter, Redactor

SECRET = 'k-5/9+"q=ZZtop'


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.add(SECRET)
    return redactor


@pytest.mark.parametrize(
    "shown", [SECRET, json.dumps(SECRET)[1:-1], quote(SECRET, safe=""), f"{SECRET}{SECRET}"]
)
def test_every_form_is_found(redactor: Redactor, shown: str) -> None:
    clean = redactor.clean(f"bad key <{shown}> given")
    assert clean == f"bad key <{REDACTED * clean.count(REDACTED)}> given" and SECRET not in clean


def test_one_that_is_cut_off_at_the_end_is_found(redactor: Redactor) -> None:
    for length in range(6, len(SECRET)):
        assert redactor.clean(f"bad key {SECRET[:length]}") == f"bad key {REDACTED}"


def test_other_text_stays_as_it_is(redactor: Redactor) -> None:
    text = 'HTTP 400: {"error": {"message": "no such model: k-5"}} bearer of news, task-based'
    assert redactor.clean(text) == text
    data = b'\xff\xfe{"a": 1}\x80'
    assert redactor.clean_bytes(data) == data
    assert redactor.clean_bytes(b"\xff" + SECRET.encode()) == b"\xff" + REDACTED.encode()


def test_what_can_t_be_written_is_replaced(redactor: Redactor) -> None:
    header = b"https://x/\xff".decode("utf-8", "surrogateescape")
    assert redactor.clean(f"leads to {header}, ü") == "leads to https://x/?, ü"


def test_too_short_a_secret_would_be_in_every_word() -> None:
    redactor = Redactor()
    redactor.add("e")
    assert redactor.clean("the key") == "the key"


@pytest.mark.parametrize(
    "told",
    [
        "Authorization: Bearer abcdef123456",
        "key sk-proj-abcdefghijklmnop1234 is wrong",
        "gsk_abcdefghijklmnop1234",
        "AKIAABCDEFGHIJKLMNOP",
        "AIza" + "x" * 35,
        "ya29.a0AfH6SMBxxxxxxxx",
        "eyJhbGciOiJI.eyJzdWIiOiIxMjM0.sig-nature",
    ],
)
def test_what_looks_like_a_vendor_s_credential_is_taken_out_unknown(told: str) -> None:
    clean = Redactor().clean(told)
    assert REDACTED in clean and told.split()[-1] not in clean.replace("is wrong", "")


def test_old_tokens_are_forgotten_before_memory_grows() -> None:
    redactor = Redactor()
    for number in range(10_000):
        redactor.add_token(f"token-number-{number}")
    assert len(redactor._forms) <= 512 and redactor.clean("token-number-9999") == REDACTED


def test_tokens_push_no_key_out(redactor: Redactor) -> None:
    for number in range(1000):
        redactor.add_token(f"token-number-{number}")
    assert redactor.clean(SECRET) == REDACTED


def test_a_secret_that_begins_like_another_shows_nothing_of_it() -> None:
    redactor = Redactor()
    for secret in ("abcdef", "abcdef-ghijkl"):
        redactor.add(secret)
    assert redactor.clean("<abcdef-ghijkl> <abcdef>") == f"<{REDACTED}> <{REDACTED}>"


def test_tokens_may_come_in_a_thread_while_a_text_is_cleaned() -> None:
    redactor, stop = Redactor(), threading.Event()
    redactor.add(SECRET)

    def renew() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            redactor.add_token(f"token-number-{number}")

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        cleaned = {redactor.clean(f"a text with {SECRET}") for _ in range(2000)}
    finally:
        stop.set()
        thread.join()
    assert cleaned == {f"a text with {REDACTED}"}


@pytest.mark.parametrize(
    "told", ["-eyJa" * 12_800, "eyJaaaaaaaa." * 5_400, "sk-" * 21_000, "bearer " * 9_000]
)
def test_no_text_takes_long(told: str) -> None:
    """As much as is read of an error: it may hold what a tenant wrote."""
    redactor = Redactor()
    for number in range(60):
        redactor.add_token(f"{number:04}" * 400)
    began = time.process_time()
    redactor.clean(told)
    assert time.process_time() - began < 0.5


def test_log_lines_are_clean_tracebacks_too() -> None:
    secret = base64.b64encode(b"a very secret value").decode()
    SECRETS.add(secret)
    formatter = RedactingFormatter("%(message)s")
    try:
        raise ValueError(f"refused: {secret}")
    except ValueError:
        record = logging.getLogger("x").makeRecord(
            "x", logging.WARNING, "f", 1, "call with %s", (secret,), __import__("sys").exc_info()
        )
    line = formatter.format(record)
    assert secret not in line and line.count(REDACTED) == 2 and "ValueError" in line
