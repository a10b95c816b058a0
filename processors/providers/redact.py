"""Secrets kept out of everything that is written: error messages, logs, outcomes and what is made of them.

Providers echo keys in error bodies, and libraries put them into exceptions. Whoever resolves a secret or fetches a
token tells it to `SECRETS`, the one registry of the process; texts that come from outside are cleaned by it before they
are cut, and log lines as the last thing before they are written.
"""

import json
import logging
import re
import threading
from collections import OrderedDict
from typing import Final
from urllib.parse import quote

REDACTED: Final = "[redacted]"
# Shorter ones are in every text.
_SHORTEST: Final = 6
# Tokens are renewed; the oldest may go.
_MOST_PASSING: Final = 256
# What looks like a credential of a known vendor, whoever gave it.
_LOOKS_SECRET: Final = re.compile(
    r"(?i:(?<=bearer )|(?<=bearer%20))[\w.~+/=%-]{8,}"
    r"|\b(?:sk|gsk|xai|pplx)-[\w-]{16,}|\bgsk_\w{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bya29\.[\w.-]{10,}"
    # From the beginning of a word only, and never given back: a text of many beginnings would take for ever.
    r"|(?<![\w-])eyJ[\w-]{8,}+\.eyJ[\w-]{8,}+\.[\w-]++"
)


class Redactor:
    """Knows secrets, and takes them out of texts. Any thread may use it: tokens are fetched in threads."""

    def __init__(self) -> None:
        self._lasting: dict[str, None] = {}
        self._passing: OrderedDict[str, None] = OrderedDict()
        self._changing = threading.Lock()
        # The longest first: a shorter secret may be a part of it.
        self._forms: tuple[str, ...] = ()

    def add(self, secret: str) -> None:
        """Remember a secret, in each form in which texts show it. Too short a one can't be told from words."""
        with self._changing:
            self._lasting |= _forms_of(secret)
            self._sort()

    def add_token(self, token: str) -> None:
        """Remember a token that another will follow: many of them push the oldest out, and no secret of `add`."""
        with self._changing:
            for form in _forms_of(token):
                self._passing[form] = None
                self._passing.move_to_end(form)
            while len(self._passing) > _MOST_PASSING:
                self._passing.popitem(last=False)
            self._sort()

    def _sort(self) -> None:
        self._forms = tuple(sorted({**self._lasting, **self._passing}, key=len, reverse=True))

    def clean(self, text: str) -> str:
        """The text without secrets; one that is cut off at the end of the text is found too.

        What no record and no log can hold of it, as an answer's bytes that are no text, is replaced.
        """
        text = self._clean(text)
        return text if text.isascii() else text.encode("utf-8", "replace").decode()

    def _clean(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, REDACTED)
        text = _LOOKS_SECRET.sub(REDACTED, text)
        return self._without_cut(text)

    def clean_bytes(self, data: bytes) -> bytes:
        """The same for bytes of any encoding that writes ASCII as it is; other bytes stay as they are."""
        return self._clean(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _without_cut(self, text: str) -> str:
        for form in self._forms:
            head = form[:_SHORTEST]
            at = text.find(head, max(0, len(text) - len(form) + 1))
            while at >= 0:
                if form.startswith(text[at:]):
                    return text[:at] + REDACTED
                at = text.find(head, at + 1)
        return text


def _forms_of(secret: str) -> dict[str, None]:
    if len(secret) < _SHORTEST:
        return {}
    return dict.fromkeys((secret, json.dumps(secret)[1:-1], quote(secret, safe="")))


SECRETS: Final = Redactor()


class RedactingFormatter(logging.Formatter):
    """Formats a log record, traceback and all, and takes the secrets out."""

    def format(self, record: logging.LogRecord) -> str:
        return SECRETS.clean(super().format(record))
